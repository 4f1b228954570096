//! What is in an open folder of this host.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::dir::Dir;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use super::error::ImportError;
use super::file_identity::nanoseconds;
use crate::archive::{Member, MemberKind};
use crate::mode::kept;
use crate::progress::MAX_ENTRIES;

/// Counts all that is below a folder, as far as it can be read.
pub(super) fn each_below(
    folder: BorrowedFd<'_>,
    name: &CStr,
    each: &mut impl FnMut(&FileStat),
) -> u64 {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = |folder: BorrowedFd<'_>, name: &CStr| {
        let folder = fcntl::openat(folder, name, flags, Mode::empty()).ok()?;
        let names = names_in(&folder, b"").ok()?;
        Some((folder, names))
    };
    let mut count = 0;
    let mut levels: Vec<_> = open(folder, name).into_iter().collect();
    while let Some((folder, names)) = levels.last_mut() {
        let Some(name) = names.pop().filter(|_| count < MAX_ENTRIES) else {
            levels.pop();
            continue;
        };
        let stat = fstatat(&*folder, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        let Ok(stat) = stat else { continue };
        count += 1;
        each(&stat);
        if kind_of(&stat) == SFlag::S_IFDIR {
            let inner = open(folder.as_fd(), &name);
            levels.extend(inner);
        }
    }
    count
}

/// The names in an open folder, the first on the disk last.
pub(super) fn names_in(folder: &OwnedFd, path: &[u8]) -> Result<Vec<CString>, ImportError> {
    let reading = || ImportError::reading(path);
    // The reader of names takes a descriptor of its own.
    let own = folder
        .try_clone()
        .map_err(|source| ImportError::unreadable(path, source))?;
    let mut entries = Dir::from_fd(own).map_err(reading())?;
    let mut names = Vec::new();
    for entry in entries.iter() {
        let entry = entry.map_err(reading())?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push((entry.ino(), name.to_owned()));
        }
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

pub(super) fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

pub(super) fn member(
    folder: BorrowedFd<'_>,
    name: &CStr,
    stat: &FileStat,
    path: &[u8],
) -> Result<Member, ImportError> {
    let refused = |why| Err(ImportError::refused(path, why));
    let kind = match kind_of(stat) {
        SFlag::S_IFREG => MemberKind::File,
        SFlag::S_IFDIR => MemberKind::Folder,
        SFlag::S_IFLNK => {
            let target = fcntl::readlinkat(folder, name)
                .map_err(ImportError::reading(path))?
                .into_vec();
            MemberKind::Symlink { target }
        }
        SFlag::S_IFIFO => return refused("is a FIFO"),
        _ => return refused("is a device"),
    };
    let size = match kind {
        MemberKind::File => u64::try_from(stat.st_size).unwrap_or(0),
        _ => 0,
    };
    Ok(Member {
        name: path.to_vec(),
        kind,
        mode: kept(stat.st_mode),
        mtime_ns: mtime_ns(stat),
        size,
    })
}

pub(super) fn mtime_ns(stat: &FileStat) -> i64 {
    nanoseconds(stat.st_mtime, stat.st_mtime_nsec)
}

/// When its content, name or mode last changed, which nobody can set.
pub(super) fn changed_ns(stat: &FileStat) -> i64 {
    nanoseconds(stat.st_ctime, stat.st_ctime_nsec)
}
