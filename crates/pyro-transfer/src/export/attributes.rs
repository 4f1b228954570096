//! Modes and times of what is unpacked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod, futimens};
use nix::sys::time::TimeSpec;

use crate::mode::kept;

/// The mode of folders that the archive has entries in but does not have itself.
const DEFAULT_MODE: u32 = 0o755;

/// What a folder gets when all that is in it is there: until then its owner must be able to write.
#[derive(Clone, Copy)]
pub(super) struct FolderAttributes {
    pub(super) mode: u32,
    pub(super) mtime_ns: Option<i64>,
}

impl FolderAttributes {
    pub(super) fn apply(self, folder: BorrowedFd<'_>) -> Result<(), Errno> {
        if let Some(mtime_ns) = self.mtime_ns {
            futimens(folder, &TimeSpec::UTIME_OMIT, &time(mtime_ns))?;
        }
        fchmod(folder, mode(self.mode))
    }
}

/// Of a folder that the archive does not have itself.
impl Default for FolderAttributes {
    fn default() -> Self {
        Self {
            mode: DEFAULT_MODE,
            mtime_ns: None,
        }
    }
}

/// What the root of an archive gets once it is in place.
pub(super) struct RootAttributes {
    pub(super) folder: OwnedFd,
    pub(super) attributes: FolderAttributes,
}

impl RootAttributes {
    pub(super) fn apply(&self) -> Result<(), Errno> {
        self.attributes.apply(self.folder.as_fd())
    }
}

/// Without set-user-id and set-group-id: those of a guest's root would be ones of this host's user.
pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_bits_truncate(kept(bits))
}

pub(super) fn time(ns: i64) -> TimeSpec {
    TimeSpec::new(ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000))
}
