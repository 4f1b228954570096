use crate::mode::LostBits;
use crate::progress::Totals;

/// What came out of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArtifactKind {
    File,
    Symlink,
    Folder,
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub kind: ArtifactKind,
    /// One entry for a lone file or link; a folder itself is none.
    pub totals: Totals,
    /// What was left out, with the reason, for people. Not more than a thousand lines.
    pub skipped: Vec<String>,
    /// Files and folders that lost a bit of their mode.
    pub(super) lost_bits: LostBits,
}

impl Received {
    /// A line for people about files and folders that lost a bit of their mode.
    pub fn note(&self) -> Option<String> {
        self.lost_bits.line()
    }
}
