//! Goes over all folders of a layer, each open while what is below it is copied.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

use super::error::{read, too_deep, unusable, write};
use super::{Copied, CopyError};
use crate::folders::{self, DEEPEST};

pub(super) struct Copier<'a> {
    pub(super) from: OwnedFd,
    /// Where paths of the copy begin.
    pub(super) to: OwnedFd,
    /// Files with more than one name, by file system and number: the path that each was copied to.
    pub(super) linked: HashMap<(u64, u64), Vec<u8>>,
    /// Whether the copy may be another name of the same file, where one can be had.
    pub(super) links: bool,
    /// Whether the file system can share blocks, as far as is known.
    pub(super) shares: bool,
    pub(super) buffer: Vec<u8>,
    pub(super) done: Copied,
    pub(super) progress: &'a mut dyn FnMut(&Copied) -> ControlFlow<()>,
}

/// Something in a folder, and where it is copied to under the same name.
pub(super) struct Place<'a> {
    pub(super) from: &'a OwnedFd,
    pub(super) to: &'a OwnedFd,
    pub(super) name: &'a [u8],
    pub(super) path: &'a [u8],
}

/// A folder that is being copied.
struct Frame {
    stat: FileStat,
    from: OwnedFd,
    to: OwnedFd,
    path: Vec<u8>,
    /// Those in it, the next one last.
    folders: Vec<Vec<u8>>,
}

impl<'a> Copier<'a> {
    pub(super) fn open(
        from: &Path,
        to: &Path,
        progress: &'a mut dyn FnMut(&Copied) -> ControlFlow<()>,
    ) -> Result<Self, CopyError> {
        let source = folders::open(from).map_err(unusable(from))?;
        let target = folders::open(to).map_err(unusable(to))?;
        if !folders::names(&target).map_err(unusable(to))?.is_empty() {
            return Err(CopyError::NotEmpty {
                path: to.to_owned(),
            });
        }
        Ok(Self {
            from: source,
            to: target,
            linked: HashMap::new(),
            links: false,
            shares: true,
            buffer: Vec::new(),
            done: Copied::default(),
            progress,
        })
    }

    pub(super) fn run(mut self) -> Result<Copied, CopyError> {
        let from = self.from.try_clone().map_err(read(b""))?;
        let to = self.to.try_clone().map_err(write(b""))?;
        let mut frames = vec![self.enter(from, to, Vec::new())?];
        while let Some(frame) = frames.last_mut() {
            let Some(name) = frame.folders.pop() else {
                // Last of all, as all that happens in a folder changes its times.
                self.dress(&frame.stat, &frame.from, &frame.to, &frame.path)?;
                frames.pop();
                continue;
            };
            let path = folders::join(&frame.path, &name).ok_or_else(|| too_deep(&frame.path))?;
            let from = folders::enter(&frame.from, &name).map_err(read(&path))?;
            let to = folders::make(&frame.to, &name).map_err(write(&path))?;
            if frames.len() >= DEEPEST {
                return Err(too_deep(&path));
            }
            self.count()?;
            let frame = self.enter(from, to, path)?;
            frames.push(frame);
        }
        Ok(self.done)
    }

    /// Copies all that is in a folder except for the folders.
    fn enter(&mut self, from: OwnedFd, to: OwnedFd, path: Vec<u8>) -> Result<Frame, CopyError> {
        let stat = fstat(&from).map_err(read(&path))?;
        let mut folders = Vec::new();
        for (_, name) in folders::names(&from).map_err(read(&path))? {
            let below = folders::join(&path, &name).ok_or_else(|| too_deep(&path))?;
            let stat = fstatat(&from, name.as_slice(), AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(read(&below))?;
            if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
                folders.push(name);
                continue;
            }
            self.copy(
                &stat,
                &Place {
                    from: &from,
                    to: &to,
                    name: &name,
                    path: &below,
                },
            )?;
        }
        folders.reverse();
        Ok(Frame {
            stat,
            from,
            to,
            path,
            folders,
        })
    }

    pub(super) fn count(&mut self) -> Result<(), CopyError> {
        self.done.entries += 1;
        self.report()
    }

    pub(super) fn report(&mut self) -> Result<(), CopyError> {
        match (self.progress)(&self.done) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(CopyError::Cancelled),
        }
    }
}
