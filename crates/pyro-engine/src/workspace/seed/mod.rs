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
//! What becomes of things: modes, times to the nanosecond, empty folders, odd names and hard links
//! are kept. Set-user-id and set-group-id are dropped, as the owner becomes root. Links are kept
//! while they stay inside the source. The folder itself, `.`, is not an entry.

mod archive;
mod error;
mod folder;
mod index;
mod source;
mod table;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

pub(crate) use error::SeedError;
pub(crate) use index::GuestIndex;
pub(crate) use source::{Source, Survey};

use super::archive::Member;

/// More entries than the file system of any guest can hold.
const MOST_ENTRIES: u64 = 2_000_000;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed {
    /// All of the source.
    pub(crate) whole: Totals,
    /// What differed from the guest and was written.
    pub(crate) changed: Totals,
}

/// Told about the way of each pass, from time to time; breaking cancels it.
pub(crate) type Watch<'a> = dyn FnMut(Totals) -> ControlFlow<()> + 'a;

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
