//! Names below one folder. A link on the way is followed as it would be in a guest, whose root the folder is;
//! the last name is never followed. So nothing outside can be meant.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::error::ApplyError;

/// The kernel gives up on a path with `..` in a link while somebody else moves folders.
const TRIES: u32 = 1000;

const FOLDER: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

pub(super) struct Tree {
    root: OwnedFd,
    /// The folder that was asked for last: members of one come one after the other.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Tree {
    pub(super) fn at(folder: &Path) -> Result<Self, ApplyError> {
        let opened = File::options()
            .read(true)
            .custom_flags((FOLDER | OFlag::O_NOFOLLOW).bits())
            .open(folder)
            .map_err(ApplyError::making(folder.as_os_str().as_encoded_bytes()))?;
        Ok(Self {
            root: opened.into(),
            last: None,
        })
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// A folder by its plain path, made with all above it where there is none.
    pub(super) fn folder(&mut self, path: &[u8]) -> Result<&OwnedFd, ApplyError> {
        if path.is_empty() {
            return Ok(&self.root);
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let opened = match self.open(path) {
                Err(Errno::ENOENT) => self.make_folders(path)?,
                other => other.map_err(ApplyError::making(path))?,
            };
            self.last = Some((path.to_vec(), opened));
        }
        Ok(self.last.as_ref().map_or(&self.root, |(_, opened)| opened))
    }

    /// The same, if it is there.
    pub(super) fn find_folder(&mut self, path: &[u8]) -> Result<Option<&OwnedFd>, ApplyError> {
        if path.is_empty() {
            return Ok(Some(&self.root));
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            match self.open(path) {
                Ok(opened) => self.last = Some((path.to_vec(), opened)),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
                Err(errno) => return Err(ApplyError::making(path)(errno)),
            }
        }
        Ok(self.last.as_ref().map(|(_, opened)| opened))
    }

    fn make_folders(&mut self, path: &[u8]) -> Result<OwnedFd, ApplyError> {
        let mut above: Option<OwnedFd> = None;
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        let ends: Vec<usize> = ends.chain([path.len()]).collect();
        let mut start = 0;
        for end in ends {
            let opened = match self.open(&path[..end]) {
                Err(Errno::ENOENT) => {
                    let folder = above.as_ref().unwrap_or(&self.root);
                    let name = &path[start..end];
                    // Fails for a link that leads nowhere.
                    mkdirat(folder, name, Mode::from_bits_truncate(0o755))
                        .map_err(ApplyError::making(&path[..end]))?;
                    openat(folder, name, FOLDER | OFlag::O_NOFOLLOW, Mode::empty())
                }
                other => other,
            };
            above = Some(opened.map_err(ApplyError::making(&path[..end]))?);
            start = end + 1;
        }
        above.ok_or_else(|| ApplyError::making(path)(Errno::ENOENT))
    }

    fn open(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(FOLDER)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        for _ in 0..TRIES {
            match openat2(&self.root, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return other,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// What a path's last name is, without following it.
    pub(super) fn look(&mut self, path: &[u8]) -> Result<Option<FileStat>, ApplyError> {
        let (above, name) = split(path);
        let Some(folder) = self.find_folder(above)? else {
            return Ok(None);
        };
        match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(ApplyError::making(path)(errno)),
        }
    }

    /// Names in a folder that is one itself, and no link to one.
    pub(super) fn names(&mut self, path: &[u8]) -> Result<Vec<Vec<u8>>, ApplyError> {
        let (above, name) = split(path);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let failed = |errno| ApplyError::making(path)(errno);
        let folder = match self.find_folder(above)? {
            Some(folder) => Dir::openat(folder, name, flags, Mode::empty()),
            None => return Ok(Vec::new()),
        };
        names_in(&mut folder.map_err(failed)?).map_err(failed)
    }

    /// Removes whatever is there.
    pub(super) fn remove(&mut self, path: &[u8]) -> Result<(), ApplyError> {
        let Some(found) = self.look(path)? else {
            return Ok(());
        };
        let (above, name) = split(path);
        let Some(folder) = self.find_folder(above)? else {
            return Ok(());
        };
        let failed = |errno| ApplyError::making(path)(errno);
        if !is_folder(&found) {
            unlinkat(folder, name, UnlinkatFlags::NoRemoveDir).map_err(failed)?;
        } else {
            remove_folder(folder, name).map_err(failed)?;
        }
        if SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG {
            // Folders may have been found through it.
            self.last = None;
        }
        Ok(())
    }
}

pub(super) fn is_folder(found: &FileStat) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
}

/// A plain path's folder and last name. The root's is itself.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None if path.is_empty() => (b"", b"."),
        None => (b"", path),
    }
}

fn names_in(folder: &mut Dir) -> nix::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in folder.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Level by level: paths of a layer are as deep as the kernel allows, and no deeper.
fn remove_folder(above: &impl AsFd, name: &[u8]) -> nix::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut folder = Dir::openat(above, name, flags, Mode::empty())?;
    for name in names_in(&mut folder)? {
        match unlinkat(&folder, name.as_slice(), UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => remove_folder(&folder, &name)?,
            other => other?,
        }
    }
    unlinkat(above, name, UnlinkatFlags::RemoveDir)
}

/// A name for what takes C strings; there is no zero in it, as it was read up to one or checked.
pub(super) fn c_string(name: &[u8]) -> nix::Result<CString> {
    CString::new(name).map_err(|_| Errno::EINVAL)
}

/// The descriptor's number, for calls that nix has not got.
pub(super) fn number(file: &impl AsFd) -> i32 {
    file.as_fd().as_raw_fd()
}
