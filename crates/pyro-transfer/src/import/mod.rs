//! Files of this host on their way into a workspace: the seed of a new one, and later pushes.
//!
//! ```text
//! Source::open      what kind of source it is, and where
//! Source::survey    the whole source is looked at, and refused before anything is sent
//! Source::pack      it becomes a tar stream; with an index of the guest, only what differs does
//! ```
//!
//! Names, counts and metadata may be held in memory, contents never are. When packing fails the
//! stream must be cut off and not ended, so that the guest throws away what it has got.
//!
//! What becomes of things: modes, times to the nanosecond, empty folders, odd names, hard links,
//! holes, and links wherever they lead are kept; no link is followed. Set-user-id and set-group-id
//! are dropped, as the owner becomes root, and so are extended attributes. Sockets are left out, and
//! so is what the [`Filter`] leaves out. The folder itself, `.`, is not an entry.

mod archive_source;
mod enclosing_repository;
mod error;
mod file_identity;
mod filter;
mod folder_entries;
mod folder_source;
mod folder_walk;
mod git_config;
mod git_index;
mod gitfile;
mod guest_index;
mod ignore_rules;
mod members;
mod notes;
mod pass;
mod patterns;
mod small_files;
mod source;
#[cfg(test)]
mod tests;

pub use enclosing_repository::folder_in_repository;
pub use error::ImportError;
pub use filter::Filter;
pub use guest_index::GuestIndex;
pub use notes::LeftOut;
pub use pass::Packed;
pub use patterns::Patterns;
pub use source::{Source, SourceKind, Survey};

/// Reads bytes as each of the files that say something about a source, and tells whether one does.
#[cfg(feature = "fuzzing")]
pub(crate) fn try_files(bytes: &[u8]) -> bool {
    let config = git_config::GitConfig::parse(bytes);
    let indexes = [20, 32].map(|hash| {
        let tracked = git_index::Tracked::parse(bytes, hash);
        tracked.is_some_and(|tracked| tracked.has(b"a/b", true))
    });
    let lines = String::from_utf8_lossy(bytes);
    let patterns = Patterns::read(lines.lines().take(8), |_| {});
    let is_left_out = patterns.leaves_out(b"a/b.c", false);
    config.get("core", "worktree").is_some() || indexes.contains(&true) || is_left_out
}
