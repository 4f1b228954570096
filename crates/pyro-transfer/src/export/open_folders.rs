//! Open folders below a root, found by plain relative names and never through a link.
//!
//! The way to the last folder stays open, so that most entries of an archive, which come folder
//! by folder, need nothing but their own last name.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::sys::stat::{Mode, mkdirat};

/// Deeper than any tree that people make. Each level is an open file.
const DEEPEST: usize = 400;

pub(super) struct OpenFolders {
    root: OwnedFd,
    way: Vec<(Vec<u8>, OwnedFd)>,
}

impl OpenFolders {
    pub(super) fn new(root: OwnedFd) -> Self {
        let way = Vec::new();
        Self { root, way }
    }

    /// Opens a folder by its plain name. `ENOTDIR` or `ELOOP`: something on the way is no folder.
    pub(super) fn enter(&mut self, name: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        self.walk(name, &mut |_| Err(Errno::ENOENT))
    }

    /// Opens a folder and makes what is missing on the way; `made` is told the name of each.
    pub(super) fn enter_or_make(
        &mut self,
        name: &[u8],
        made: &mut dyn FnMut(&[u8]),
    ) -> Result<BorrowedFd<'_>, Errno> {
        self.walk(name, &mut |missing| {
            made(missing);
            Ok(())
        })
    }

    fn walk(
        &mut self,
        name: &[u8],
        missing: &mut dyn FnMut(&[u8]) -> Result<(), Errno>,
    ) -> Result<BorrowedFd<'_>, Errno> {
        let parts: Vec<&[u8]> = name
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
            .collect();
        if parts.len() > DEEPEST {
            return Err(Errno::ENAMETOOLONG);
        }
        let common = self
            .way
            .iter()
            .zip(&parts)
            .take_while(|((open, _), part)| open == *part)
            .count();
        self.way.truncate(common);
        for (depth, part) in parts.iter().enumerate().skip(common) {
            let above = self.last();
            let child = CString::new(*part).map_err(|_| Errno::EINVAL)?;
            let folder = match open(above, &child) {
                Err(Errno::ENOENT) => {
                    let whole = parts[..=depth].join(&b'/');
                    missing(&whole)?;
                    mkdirat(above, child.as_c_str(), Mode::S_IRWXU)?;
                    open(above, &child)?
                }
                other => other?,
            };
            self.way.push((part.to_vec(), folder));
        }
        Ok(self.last())
    }

    fn last(&self) -> BorrowedFd<'_> {
        self.way
            .last()
            .map_or(self.root.as_fd(), |(_, folder)| folder.as_fd())
    }
}

fn open(above: BorrowedFd<'_>, name: &CString) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    fcntl::openat(above, name.as_c_str(), flags, Mode::empty())
}
