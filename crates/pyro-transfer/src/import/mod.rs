//! Files of this host on their way into a workspace: the seed of a new one, and later pushes.
//!
//! ```text
//! Source::open      what kind of source it is, and where
//! Source::survey    the whole source is looked at, and refused before anything is sent
//! Source::pack      it becomes a tar stream; with an index of the guest, only what differs does
//! ```
//!
//! Names, counts and metadata may be held in memory, contents never are. All of it blocks, so it
//! belongs on a thread of its own; the stream's other end sets the pace. When packing fails the
//! stream must be cut off and not ended, so that the guest throws away what it has got.
//!
//! What becomes of things: modes, times to the nanosecond, empty folders, odd names, hard links,
//! holes, and links wherever they lead are kept; no link is followed. Set-user-id and set-group-id
//! are dropped, as the owner becomes root, and so are extended attributes. Sockets are left out, and
//! so is what [`Wanted`] does not want. The folder itself, `.`, is not an entry.

mod archive;
mod error;
mod folder;
mod git_config;
mod git_index;
mod index;
mod notes;
mod patterns;
mod repository;
mod rules;
mod source;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

pub(crate) use error::SeedError;
pub(crate) use index::GuestIndex;
pub(crate) use patterns::Patterns;
pub(crate) use source::{Source, Survey};

use super::archive::Member;
use super::names::shown;

/// More entries than the file system of any guest can hold.
const MOST_ENTRIES: u64 = 2_000_000;

/// How many repositories are named that were left alone.
const MOST_NAMED: usize = 5;

/// What of a source is wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// What is left out, whatever files of the source say.
    pub(crate) patterns: Patterns,
    /// Whether what git ignores is left out as well.
    pub(crate) gitignore: bool,
}

impl Wanted {
    pub(crate) fn all() -> Self {
        Self {
            patterns: Patterns::read([], |_| {}),
            gitignore: false,
        }
    }
}

/// What came by so far, or in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Files, folders and links.
    pub(crate) entries: u64,
    /// Bytes of the regular files; a file with several names counts once.
    pub(crate) bytes: u64,
}

impl Totals {
    fn add(&mut self, member: &Member) {
        self.entries += 1;
        self.bytes += member.size;
    }
}

/// What a pass over a source found and sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed {
    /// All of the source.
    pub(crate) whole: Totals,
    /// What differed from the guest and was written.
    pub(crate) changed: Totals,
    /// Repository folders of the guest that differ from those of the source, and stay as they are.
    pub(crate) left_alone: BTreeSet<Vec<u8>>,
}

impl Packed {
    fn left_alone(&mut self, folder: &[u8]) {
        if !self.left_alone.contains(folder) {
            self.left_alone.insert(folder.to_owned());
        }
    }

    /// A line for people about the repositories that were left alone.
    pub(crate) fn note(&self) -> Option<String> {
        let mut text = self
            .left_alone
            .iter()
            .take(MOST_NAMED)
            .map(|name| format!("`{}`", shown(name)))
            .collect::<Vec<_>>()
            .join(", ");
        match self.left_alone.len().checked_sub(MOST_NAMED) {
            _ if text.is_empty() => return None,
            None | Some(0) => {}
            Some(more) => text.push_str(&format!(" and {more} more")),
        }
        Some(format!(
            "{text} of the workspace stays as it is, with what was committed there, and differs from \
             this host's; to have this host's, remove it in the workspace and push again"
        ))
    }
}

/// Told about the way of each pass, from time to time; breaking cancels it.
pub(crate) type Watch<'a> = dyn FnMut(Totals) -> ControlFlow<()> + 'a;

/// Reads bytes as each of the files that say something about a source.
#[cfg(fuzzing)]
pub(crate) fn try_files(bytes: &[u8]) {
    let _ = git_config::GitConfig::parse(bytes).get("core", "worktree");
    for hash in [20, 32] {
        let tracked = git_index::Tracked::parse(bytes, hash);
        let _ = tracked.is_some_and(|tracked| tracked.has(b"a/b", true));
    }
    let lines = String::from_utf8_lossy(bytes);
    let _ = Patterns::read(lines.lines().take(8), |_| {}).leaves_out(b"a/b.c", false);
}

/// Permission bits that an entry keeps when its owner changes.
fn kept_mode(mode: u32) -> u32 {
    mode & 0o1777
}

fn look(watch: &mut Watch<'_>, totals: Totals) -> Result<(), SeedError> {
    match watch(totals) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(SeedError::Cancelled),
    }
}
