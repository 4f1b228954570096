//! Goes from folder to folder of one tree without ever following a link.
//!
//! Keeps the descriptors of the folders on the way open, as paths come sorted and mostly share
//! them.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, mkdirat};
use nix::unistd::{Gid, Uid, fchownat};

use crate::files::error::FileError;
use crate::files::{path, status};

/// What to do about a folder that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Fail,
    Make,
}

pub(crate) struct Cursor {
    root: OwnedFd,
    /// The folders from the root to where the cursor is.
    way: Vec<(Vec<u8>, OwnedFd)>,
    /// Whose folders are that it makes; the agent's own without one.
    owner: Option<(Uid, Gid)>,
}

impl Cursor {
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            way: Vec::new(),
            owner: None,
        }
    }

    /// One whose new folders are somebody's.
    pub(crate) fn of(root: OwnedFd, owner: Option<(Uid, Gid)>) -> Self {
        Self {
            owner,
            ..Self::new(root)
        }
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Goes to a folder, given by its normalized path.
    pub(crate) fn enter(
        &mut self,
        folder: &[u8],
        missing: Missing,
    ) -> Result<BorrowedFd<'_>, FileError> {
        let mut depth = 0;
        let mut end = 0;
        for part in folder.split(|byte| *byte == b'/') {
            if part.is_empty() {
                break;
            }
            end += part.len() + usize::from(depth > 0);
            let known = self.way.get(depth).is_some_and(|(name, _)| name == part);
            if !known {
                self.way.truncate(depth);
                let inside = open(self.here(), part, missing, self.owner)
                    .map_err(|error| not_entered(&folder[..end], error))?;
                self.way.push((part.to_vec(), inside));
            }
            depth += 1;
        }
        self.way.truncate(depth);
        Ok(self.here())
    }

    /// Goes to the folder that a path is in.
    pub(crate) fn enter_parent<'path>(
        &mut self,
        path: &'path [u8],
        missing: Missing,
    ) -> Result<(BorrowedFd<'_>, &'path [u8]), FileError> {
        let (folder, name) = path::split(path);
        self.enter(folder, missing).map(|folder| (folder, name))
    }

    /// What the tree has at a normalized path. A path through a folder that is missing is missing too.
    pub(crate) fn find(&mut self, path: &[u8]) -> Result<Option<FileStat>, FileError> {
        match self.enter_parent(path, Missing::Fail) {
            Ok((folder, name)) => {
                let name = if name.is_empty() { b"." } else { name };
                status::find(folder, name).map_err(|error| FileError::io("access", path, error))
            }
            Err(FileError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets what it knows, which a renaming may have made untrue.
    pub(crate) fn forget(&mut self) {
        self.way.clear();
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.way
            .last()
            .map_or(self.root.as_fd(), |(_, folder)| folder.as_fd())
    }
}

fn open(
    folder: BorrowedFd,
    name: &[u8],
    missing: Missing,
    owner: Option<(Uid, Gid)>,
) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(folder, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) if missing == Missing::Make => {
            mkdirat(folder, name, Mode::from_bits_truncate(0o755))?;
            give(folder, name, owner)?;
            openat(folder, name, flags, Mode::empty())
        }
        opened => opened,
    }
}

/// Gives what was just made in a folder, link or not, to whom it is for.
pub(crate) fn give(folder: impl AsFd, name: &[u8], owner: Option<(Uid, Gid)>) -> nix::Result<()> {
    match owner {
        None => Ok(()),
        Some((uid, gid)) => fchownat(
            folder,
            name,
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        ),
    }
}

/// Opens a file, but not through a link, nor a pipe that somebody would have to be at the end of.
pub(crate) fn open_file(folder: impl AsFd, name: &[u8], access: OFlag) -> nix::Result<File> {
    let flags = access | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    openat(folder, name, flags, Mode::empty()).map(File::from)
}

fn not_entered(folder: &[u8], error: Errno) -> FileError {
    match error {
        Errno::ENOTDIR | Errno::ELOOP => FileError::bad_path(
            folder,
            "it is not a folder, and links are not followed here",
        ),
        error => FileError::opening(folder, error),
    }
}
