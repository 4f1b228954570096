//! How far a pass over files is.

use std::ops::ControlFlow;

use crate::archive::Member;

/// More entries than the file system of any guest can hold.
pub(crate) const MAX_ENTRIES: u64 = 2_000_000;

/// What came by so far, or in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files, folders and links.
    pub entries: u64,
    /// Bytes of the regular files; a file with several names counts once.
    pub bytes: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, member: &Member) {
        self.entries += 1;
        self.bytes += member.size;
    }
}

/// Called from time to time with how far a pass is; breaking cancels it.
pub type OnProgress<'a> = dyn FnMut(Totals) -> ControlFlow<()> + 'a;
