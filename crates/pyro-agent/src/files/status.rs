//! What the file system says about one file, in the words of the protocol.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{FileStat, fstatat};
use pyro_wire::Bytes;
use pyro_wire::files::{EntryKind, Meta, Stamp};

const NANOSECONDS: i64 = 1_000_000_000;

/// The permission bits of a mode, with set-user-id and its like.
pub(crate) const PERMISSIONS: u32 = 0o7777;

/// Asks about a name in a folder, without following a link.
pub(crate) fn lstat(folder: impl AsFd, name: &[u8]) -> nix::Result<FileStat> {
    fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The same, where nothing being there is an answer too.
pub(crate) fn find(folder: impl AsFd, name: &[u8]) -> nix::Result<Option<FileStat>> {
    match lstat(folder, name) {
        Ok(status) => Ok(Some(status)),
        Err(nix::errno::Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn target(folder: impl AsFd, name: &[u8]) -> nix::Result<Vec<u8>> {
    readlinkat(folder, name).map(OsStringExt::into_vec)
}

pub(crate) fn kind(mode: u32) -> EntryKind {
    match mode & libc::S_IFMT {
        libc::S_IFREG => EntryKind::File,
        libc::S_IFDIR => EntryKind::Directory,
        libc::S_IFLNK => EntryKind::Symlink,
        _ => EntryKind::Special,
    }
}

pub(crate) fn kind_of(status: &FileStat) -> EntryKind {
    kind(status.st_mode)
}

pub(crate) fn size(status: &FileStat) -> u64 {
    u64::try_from(status.st_size).unwrap_or(0)
}

pub(crate) fn permissions(status: &FileStat) -> u32 {
    status.st_mode & PERMISSIONS
}

pub(crate) fn meta(status: &FileStat, target: Option<Vec<u8>>, empty: bool) -> Meta {
    let kind = kind_of(status);
    Meta {
        kind,
        size: match kind {
            EntryKind::File | EntryKind::Symlink => size(status),
            EntryKind::Directory | EntryKind::Special => 0,
        },
        mode: permissions(status),
        target: target.map(Bytes::from),
        empty,
    }
}

pub(crate) fn stamp(status: &FileStat) -> Stamp {
    Stamp {
        inode: status.st_ino,
        size: size(status),
        mtime_ns: nanoseconds(status.st_mtime, status.st_mtime_nsec),
        ctime_ns: nanoseconds(status.st_ctime, status.st_ctime_nsec),
    }
}

pub(crate) fn mtime_ns(status: &FileStat) -> i64 {
    nanoseconds(status.st_mtime, status.st_mtime_nsec)
}

/// Nanoseconds since 1970. Times beyond some three centuries from there are cut.
pub(crate) fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(NANOSECONDS).saturating_add(rest)
}

/// The other way round: whole seconds, and the nanoseconds after them.
pub(crate) fn seconds(nanoseconds: i64) -> (i64, i64) {
    (
        nanoseconds.div_euclid(NANOSECONDS),
        nanoseconds.rem_euclid(NANOSECONDS),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_survive() {
        for time in [0, 1, -1, NANOSECONDS, -NANOSECONDS - 1, i64::MIN, i64::MAX] {
            let (whole, rest) = seconds(time);
            assert!((0..NANOSECONDS).contains(&rest));
            if time != i64::MIN {
                assert_eq!(nanoseconds(whole, rest), time);
            }
        }
        assert_eq!(nanoseconds(i64::MAX, 0), i64::MAX);
    }
}
