//! What is in one folder.
//!
//! Asks the kernel directly: one large buffer for all folders of a walk instead of one in each
//! handle of the C library.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};

use crate::files::status;

/// Enough for a thousand names at once.
pub(crate) const BUFFER: usize = 64 * 1024;

/// Offsets in `linux_dirent64`: inode and position (8 bytes each), then these.
const LENGTH: usize = 16;
const KIND: usize = 18;
const NAME: usize = 19;

pub(crate) struct Name {
    pub(crate) bytes: Vec<u8>,
    /// Whether it is a folder, as far as the folder around it knows: some file systems do not.
    pub(crate) maybe_folder: bool,
}

/// Opens a folder in a folder for reading it. Whatever else has that name is left alone.
pub(crate) fn open(folder: impl AsFd, name: &[u8]) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY
        | OFlag::O_DIRECTORY
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_CLOEXEC;
    let folder = folder.as_fd();
    let inside = openat(folder, name, flags, Mode::empty())?;
    // gVisor (2024) follows a link all the same when it is to open a folder.
    let (opened, named) = (fstat(&inside)?, status::lstat(folder, name)?);
    match (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino) {
        true => Ok(inside),
        false => Err(Errno::ENOTDIR),
    }
}

/// The names in a folder, except `.` and `..`, in the order of the disk.
pub(crate) fn names(folder: impl AsFd, buffer: &mut [u8]) -> nix::Result<Vec<Name>> {
    let folder = folder.as_fd();
    let mut names = Vec::new();
    loop {
        // SAFETY: the kernel writes at most as many bytes as the buffer has.
        let filled = Errno::result(unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                folder.as_raw_fd(),
                buffer.as_mut_ptr(),
                buffer.len(),
            )
        })?;
        let filled = usize::try_from(filled).unwrap_or(0).min(buffer.len());
        if filled == 0 {
            return Ok(names);
        }
        let mut rest = &buffer[..filled];
        while let Some((name, kind, after)) = first(rest) {
            if name != b"." && name != b".." {
                names.push(Name {
                    bytes: name.to_vec(),
                    maybe_folder: matches!(kind, libc::DT_DIR | libc::DT_UNKNOWN),
                });
            }
            rest = after;
        }
    }
}

/// The first name in what the kernel wrote, its kind, and what comes after it.
fn first(records: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let length = records.get(LENGTH..LENGTH + 2)?;
    let length = usize::from(u16::from_ne_bytes(length.try_into().ok()?));
    let name = CStr::from_bytes_until_nul(records.get(NAME..length)?).ok()?;
    Some((name.to_bytes(), *records.get(KIND)?, records.get(length..)?))
}

/// Whether nothing is in a folder.
pub(crate) fn is_empty(folder: impl AsFd, buffer: &mut [u8]) -> nix::Result<bool> {
    names(folder, buffer).map(|names| names.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_is_opened_and_a_link_to_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("folder/inner")).unwrap();
        fs::write(home.path().join("file"), "").unwrap();
        symlink("folder", home.path().join("link")).unwrap();
        let home = fs::File::open(home.path()).unwrap();
        let mut buffer = vec![0; BUFFER];
        let inside = names(open(&home, b"folder").unwrap(), &mut buffer).unwrap();
        assert_eq!(inside[0].bytes, b"inner");
        for other in [&b"link"[..], b"file", b"none"] {
            assert!(open(&home, other).is_err());
        }
    }
}
