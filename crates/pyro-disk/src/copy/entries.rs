//! Copies one file, link, pipe or removal, with all that belongs to it.

use std::fs::File;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, futimens,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, symlinkat};

use super::CopyError;
use super::error::{read, write};
use super::walk::{Copier, Place};
use crate::xattr;

/// The device that stands for a file that an overlay removed.
const REMOVAL: u64 = 0;

/// A file with more names is copied rather than given as many again: ext4 lets it have 65,000.
const MOST_NAMES: u64 = 16_000;

/// Attributes without which an overlay shows something else.
const OF_OVERLAY: &[u8] = b"user.overlay.";

impl Copier<'_> {
    /// Copies what is no folder.
    pub(super) fn copy(&mut self, stat: &FileStat, place: &Place) -> Result<(), CopyError> {
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        let is_device = kind == SFlag::S_IFCHR || kind == SFlag::S_IFBLK;
        let is_removal = kind == SFlag::S_IFCHR && stat.st_rdev == REMOVAL;
        if is_device && !is_removal {
            self.done.devices += 1;
            return Ok(());
        }
        self.count()?;
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                // Its path has only folders that were made here, and no link.
                return linkat(
                    &self.to,
                    first.as_slice(),
                    place.to,
                    place.name,
                    AtFlags::empty(),
                )
                .map_err(write(place.path));
            }
            let key = (stat.st_dev, stat.st_ino);
            self.linked.insert(key, place.path.to_vec());
        }
        if self.links && stat.st_nlink <= MOST_NAMES && self.link(stat, place)? {
            return Ok(());
        }
        match kind {
            SFlag::S_IFREG => self.copy_file(place),
            SFlag::S_IFLNK => {
                let target = readlinkat(place.from, place.name).map_err(read(place.path))?;
                symlinkat(target.as_os_str(), place.to, place.name).map_err(write(place.path))?;
                dress_unopened(stat, place)
            }
            kind => {
                mknodat(place.to, place.name, kind, Mode::S_IRUSR, REMOVAL)
                    .map_err(write(place.path))?;
                dress_unopened(stat, place)
            }
        }
    }

    /// Gives a file another name, which is as good as a copy of one that nobody writes to any more. Whether
    /// that was possible.
    fn link(&mut self, stat: &FileStat, place: &Place) -> Result<bool, CopyError> {
        match linkat(
            place.from,
            place.name,
            place.to,
            place.name,
            AtFlags::empty(),
        ) {
            Ok(()) => {
                if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG {
                    self.done.bytes += u64::try_from(stat.st_size).unwrap_or(0);
                }
                Ok(true)
            }
            Err(errno @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EIO | Errno::EEXIST)) => {
                Err(write(place.path)(errno))
            }
            // Not on this file system, or not from that one to this; or not this file.
            Err(_) => Ok(false),
        }
    }

    fn copy_file(&mut self, place: &Place) -> Result<(), CopyError> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // Should it have become a pipe meanwhile, nobody waits for its other end.
        let reading = flags | OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let from = fcntl::openat(place.from, place.name, reading, Mode::empty());
        let from = File::from(from.map_err(read(place.path))?);
        let stat = fstat(&from).map_err(read(place.path))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(read(place.path)(Errno::ESTALE));
        }
        let writing = flags | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let private = Mode::S_IRUSR | Mode::S_IWUSR;
        let to = fcntl::openat(place.to, place.name, writing, private);
        let to = File::from(to.map_err(write(place.path))?);
        self.copy_content(
            &from,
            &to,
            u64::try_from(stat.st_size).unwrap_or(0),
            place.path,
        )?;
        self.dress(&stat, &from, &to, place.path)
    }

    /// Gives an open file or folder its owner, rights, attributes and times, in an order in which
    /// none takes back what one before it gave.
    pub(super) fn dress(
        &mut self,
        stat: &FileStat,
        from: &impl AsFd,
        to: &impl AsFd,
        path: &[u8],
    ) -> Result<(), CopyError> {
        let (owner, group) = owner(stat);
        fchown(to, Some(owner), Some(group)).map_err(write(path))?;
        fchmod(to, mode(stat)).map_err(write(path))?;
        for name in xattr::names(from).map_err(read(path))? {
            let value = xattr::get(from, &name).map_err(read(path))?;
            match xattr::set(to, &name, &value) {
                Ok(()) => {}
                Err(errno @ (Errno::EIO | Errno::EDQUOT | Errno::ENOSPC)) => {
                    return Err(write(path)(errno));
                }
                Err(errno) if name.to_bytes().starts_with(OF_OVERLAY) => {
                    return Err(write(path)(errno));
                }
                // Whatever the reason is, the file is of use without it.
                Err(_) => self.done.attributes += 1,
            }
        }
        let [accessed, modified] = times(stat);
        futimens(to, &accessed, &modified).map_err(write(path))
    }
}

/// The same for what cannot be opened.
fn dress_unopened(stat: &FileStat, place: &Place) -> Result<(), CopyError> {
    let (owner, group) = owner(stat);
    fchownat(
        place.to,
        place.name,
        Some(owner),
        Some(group),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .map_err(write(place.path))?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFLNK {
        // It was made a moment ago in a folder that nobody else has, and is no link.
        let follow = FchmodatFlags::FollowSymlink;
        fchmodat(place.to, place.name, mode(stat), follow).map_err(write(place.path))?;
    }
    let [accessed, modified] = times(stat);
    utimensat(
        place.to,
        place.name,
        &accessed,
        &modified,
        UtimensatFlags::NoFollowSymlink,
    )
    .map_err(write(place.path))
}

fn owner(stat: &FileStat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn mode(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode & 0o7777)
}

fn times(stat: &FileStat) -> [TimeSpec; 2] {
    [
        TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
        TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
    ]
}
