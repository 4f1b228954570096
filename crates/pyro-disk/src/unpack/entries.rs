//! Makes one file, link or pipe, with all that belongs to it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::fchown;

use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, futimens, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, linkat, symlinkat};

use super::UnpackError;
use super::error::write;
use super::walk::{Place, Unpacker};
use crate::entry::FileKind;
use crate::ext4::{Inode, Special};
use crate::names::escaped;

/// An id that is none: for `chown` it means that nothing changes.
const NOBODY: u32 = u32::MAX;

impl Unpacker<'_> {
    /// Makes what is no folder.
    pub(super) fn make(&mut self, inode: &Inode, place: &Place) -> Result<(), UnpackError> {
        if inode.kind == FileKind::Special && inode.special() == Special::Device {
            self.done.devices += 1;
            return Ok(());
        }
        self.count()?;
        if inode.names > 1 {
            if let Some(first) = self.linked.get(&inode.number) {
                // Its path has only folders that were made here, and no link.
                return linkat(
                    &self.root,
                    first.as_slice(),
                    place.folder,
                    place.name,
                    AtFlags::empty(),
                )
                .map_err(write(place.path));
            }
            self.linked.insert(inode.number, place.path.to_vec());
        }
        match inode.kind {
            FileKind::File => self.make_file(inode, place),
            FileKind::Symlink => {
                let target = self.disk.target_of(inode)?;
                symlinkat(target.as_slice(), place.folder, place.name)
                    .map_err(write(place.path))?;
                self.done.attributes += self.disk.attributes(inode)?.len() as u64;
                dress_unopened(inode, place)
            }
            FileKind::Special | FileKind::Directory => {
                let kind = match inode.special() {
                    Special::Socket => SFlag::S_IFSOCK,
                    _ => SFlag::S_IFIFO,
                };
                mknodat(place.folder, place.name, kind, Mode::S_IRUSR, 0)
                    .map_err(write(place.path))?;
                self.done.attributes += self.disk.attributes(inode)?.len() as u64;
                dress_unopened(inode, place)
            }
        }
    }

    fn make_file(&mut self, inode: &Inode, place: &Place) -> Result<(), UnpackError> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let private = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = fcntl::openat(place.folder, place.name, flags, private);
        let file = File::from(file.map_err(write(place.path))?);
        self.write_content(inode, &file, place.path)?;
        self.dress(inode, &file, place.path)
    }

    /// Gives an open file or folder its owner, rights, attributes and times, in an order in which
    /// none takes back what one before it gave: a new owner makes the kernel drop rights and
    /// attributes that would be that owner's.
    pub(super) fn dress(
        &mut self,
        inode: &Inode,
        open: &impl AsFd,
        path: &[u8],
    ) -> Result<(), UnpackError> {
        let (owner, group) = ids(inode, path)?;
        fchown(open, Some(owner), Some(group)).map_err(not_given(inode, path))?;
        let mode = Mode::from_bits_truncate(inode.stat().mode);
        fchmod(open, mode).map_err(write(path))?;
        self.set_attributes(inode, open.as_fd(), path)?;
        let blocks = fstat(open).map_err(write(path))?.st_blocks;
        self.done.allocated += u64::try_from(blocks).unwrap_or(0) * 512;
        futimens(open, &time(inode.atime_ns), &time(inode.mtime_ns)).map_err(write(path))
    }
}

/// The same for what cannot be opened.
fn dress_unopened(inode: &Inode, place: &Place) -> Result<(), UnpackError> {
    let (owner, group) = ids(inode, place.path)?;
    fchownat(
        place.folder,
        place.name,
        Some(Uid::from_raw(owner)),
        Some(Gid::from_raw(group)),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .map_err(not_given(inode, place.path))?;
    if inode.kind != FileKind::Symlink {
        // It was made a moment ago in a folder that nobody else has, and is no link.
        let mode = Mode::from_bits_truncate(inode.stat().mode);
        fchmodat(place.folder, place.name, mode, FchmodatFlags::FollowSymlink)
            .map_err(write(place.path))?;
    }
    utimensat(
        place.folder,
        place.name,
        &time(inode.atime_ns),
        &time(inode.mtime_ns),
        UtimensatFlags::NoFollowSymlink,
    )
    .map_err(write(place.path))
}

fn ids(inode: &Inode, path: &[u8]) -> Result<(u32, u32), UnpackError> {
    match (inode.owner, inode.group) {
        (NOBODY, _) | (_, NOBODY) => Err(not_given(inode, path)(Errno::EINVAL)),
        ids => Ok(ids),
    }
}

fn not_given<E: Into<io::Error>>(inode: &Inode, path: &[u8]) -> impl FnOnce(E) -> UnpackError {
    |source| UnpackError::Owner {
        name: escaped(path),
        owner: inode.owner,
        group: inode.group,
        source: source.into(),
    }
}

fn time(nanoseconds: i64) -> TimeSpec {
    const SECOND: i64 = 1_000_000_000;
    TimeSpec::new(
        nanoseconds.div_euclid(SECOND),
        nanoseconds.rem_euclid(SECOND),
    )
}
