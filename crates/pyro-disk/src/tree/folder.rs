//! A folder of this host as a tree.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use crate::entry::{Entry, FileKind, Stat};
use crate::error::TreeError;
use crate::names::{escaped, split};

pub(crate) struct Folder {
    root: OwnedFd,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self, TreeError> {
        let root = fcntl::open(path, folder_flags(), Mode::empty()).map_err(|errno| {
            TreeError::Folder {
                path: path.to_owned(),
                source: errno.into(),
            }
        })?;
        Ok(Self { root })
    }

    pub(crate) fn stat(&self, path: &[u8]) -> Result<Stat, TreeError> {
        let (above, last) = split(path);
        let folder = self.enter(above, path)?;
        let stat = match last {
            b"" => fstat(&folder),
            last => fstatat(&folder, last, AtFlags::AT_SYMLINK_NOFOLLOW),
        };
        Ok(of(&stat.map_err(failed(path))?))
    }

    pub(crate) fn read(
        &self,
        path: &[u8],
        offset: u64,
        limit: usize,
    ) -> Result<Vec<u8>, TreeError> {
        if self.stat(path)?.kind != FileKind::File {
            return Err(TreeError::wrong_kind(path, "a file"));
        }
        let (above, last) = split(path);
        let folder = self.enter(above, path)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = fcntl::openat(&folder, last, flags, Mode::empty()).map_err(failed(path))?;
        let mut file = File::from(file);
        let mut content = Vec::new();
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(limit as u64).read_to_end(&mut content))
            .map_err(|source| TreeError::Unreadable {
                name: escaped(path),
                source,
            })?;
        Ok(content)
    }

    pub(crate) fn target(&self, path: &[u8]) -> Result<Vec<u8>, TreeError> {
        let (above, last) = split(path);
        let folder = self.enter(above, path)?;
        match fcntl::readlinkat(&folder, last) {
            Ok(target) => Ok(target.into_vec()),
            Err(Errno::EINVAL) => Err(TreeError::wrong_kind(path, "a link")),
            Err(errno) => Err(failed(path)(errno)),
        }
    }

    pub(crate) fn list(&self, path: &[u8]) -> Result<Vec<Entry>, TreeError> {
        if self.stat(path)?.kind != FileKind::Directory {
            return Err(TreeError::wrong_kind(path, "a folder"));
        }
        let folder = self.enter(path, path)?;
        let own = folder.as_fd().try_clone_to_owned();
        let own = own.map_err(|source| TreeError::Unreadable {
            name: escaped(path),
            source,
        })?;
        let mut entries = Vec::new();
        for entry in Dir::from_fd(own).map_err(failed(path))?.iter() {
            let entry = entry.map_err(failed(path))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
            let stat = stat.map_err(failed(path))?;
            entries.push(Entry {
                name: name.to_bytes().to_vec(),
                stat: of(&stat),
                inode: stat.st_ino,
            });
        }
        Ok(entries)
    }

    /// Opens a folder below the root, following no link on the way.
    fn enter(&self, folder: &[u8], path: &[u8]) -> Result<OwnedFd, TreeError> {
        let mut open =
            fcntl::openat(&self.root, c".", folder_flags(), Mode::empty()).map_err(failed(path))?;
        for part in folder
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
        {
            open =
                fcntl::openat(&open, part, folder_flags(), Mode::empty()).map_err(failed(path))?;
        }
        Ok(open)
    }
}

fn folder_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn failed(path: &[u8]) -> impl FnOnce(Errno) -> TreeError {
    |errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => TreeError::not_found(path),
        errno => TreeError::Unreadable {
            name: escaped(path),
            source: errno.into(),
        },
    }
}

fn of(stat: &FileStat) -> Stat {
    let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => FileKind::File,
        SFlag::S_IFDIR => FileKind::Directory,
        SFlag::S_IFLNK => FileKind::Symlink,
        _ => FileKind::Special,
    };
    let size = match kind {
        FileKind::File | FileKind::Symlink => u64::try_from(stat.st_size).unwrap_or(0),
        FileKind::Directory | FileKind::Special => 0,
    };
    Stat {
        kind,
        size,
        mode: stat.st_mode & 0o7777,
        mtime_ns: stat
            .st_mtime
            .saturating_mul(1_000_000_000)
            .saturating_add(stat.st_mtime_nsec),
        user: stat.st_uid,
        group: stat.st_gid,
    }
}
