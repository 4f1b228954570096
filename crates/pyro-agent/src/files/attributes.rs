//! What a file has beside its content: owner, mode, extended attributes (access lists and
//! capabilities among them). Given from one file to another.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::fchown;
use std::ptr;

use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;

use crate::files::status;

/// How often an attribute is read again that grows meanwhile.
const TRIES: usize = 10;

/// Gives `to` the owner and the attributes of `from`, and this mode.
pub(crate) fn copy(from: impl AsFd, to: impl AsFd, mode: u32) -> io::Result<()> {
    let (old, new) = (fstat(from.as_fd())?, fstat(to.as_fd())?);
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid) {
        fchown(to.as_fd(), Some(old.st_uid), Some(old.st_gid))?;
    }
    for name in names(from.as_fd())? {
        let Some(value) = value(from.as_fd(), &name)? else {
            continue;
        };
        // Some may be set by the system only, and are the same on both then.
        if self::value(to.as_fd(), &name)?.as_ref() != Some(&value) {
            set(to.as_fd(), &name, &value)?;
        }
    }
    // Last, as a new owner takes set-user-id away, and an access list brings bits of its own.
    let now = fstat(to.as_fd())?;
    if status::permissions(&now) != mode {
        fchmod(to.as_fd(), Mode::from_bits_truncate(mode))?;
    }
    Ok(())
}

/// Sets an extended attribute by its name.
pub(crate) fn give(file: impl AsFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(set(file, &name, value)?)
}

/// Makes `to` hold what `from` holds, and be what `from` is: content, owner, mode, attributes,
/// time. Its own blocks are written over before it is cut, so that a full disk has room for what
/// was there before.
pub(crate) fn overwrite(mut from: &File, mut to: &File) -> io::Result<()> {
    let length = io::copy(&mut from, &mut to)?;
    to.set_len(length)?;
    let about = fstat(from)?;
    copy(from, to, status::permissions(&about))?;
    futimens(
        to,
        &TimeSpec::UTIME_OMIT,
        &TimeSpec::new(about.st_mtime, about.st_mtime_nsec),
    )?;
    to.sync_all()
}

fn names(file: impl AsFd) -> nix::Result<Vec<CString>> {
    let listed = read(|buffer, size| {
        // SAFETY: the descriptor is open, and the buffer has room for `size` bytes.
        unsafe { libc::flistxattr(file.as_fd().as_raw_fd(), buffer.cast(), size) }
    });
    match listed {
        // A file system that knows none.
        Err(Errno::ENOTSUP) => Ok(Vec::new()),
        listed => Ok(listed?
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .filter_map(|name| CString::new(name).ok())
            .collect()),
    }
}

/// `None` when there is no such attribute, or not any more.
fn value(file: impl AsFd, name: &CStr) -> nix::Result<Option<Vec<u8>>> {
    let found = read(|buffer, size| {
        // SAFETY: the descriptor is open, the name ends with a NUL byte, and the buffer has room
        // for `size` bytes.
        unsafe { libc::fgetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), buffer.cast(), size) }
    });
    match found {
        Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(None),
        found => found.map(Some),
    }
}

fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: the descriptor is open, the name ends with a NUL byte, and the value has that length.
    let set = unsafe {
        libc::fsetxattr(
            file.as_fd().as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(set).map(drop)
}

/// Asks for the length, then for that much.
fn read(ask: impl Fn(*mut u8, usize) -> isize) -> nix::Result<Vec<u8>> {
    for _ in 0..TRIES {
        let length = Errno::result(ask(ptr::null_mut(), 0))?;
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
        if buffer.is_empty() {
            return Ok(buffer);
        }
        match Errno::result(ask(buffer.as_mut_ptr(), buffer.len())) {
            Err(Errno::ERANGE) => {}
            read => {
                buffer.truncate(usize::try_from(read?).unwrap_or(0));
                return Ok(buffer);
            }
        }
    }
    Err(Errno::ERANGE)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn file(name: &std::path::Path, content: &str, mode: u32) -> File {
        fs::write(name, content).unwrap();
        fs::set_permissions(name, fs::Permissions::from_mode(mode)).unwrap();
        File::options().read(true).write(true).open(name).unwrap()
    }

    #[test]
    fn a_rewritten_file_is_what_the_other_is() {
        let folder = tempfile::tempdir().unwrap();
        let from = file(&folder.path().join("from"), "short", 0o640);
        let to = file(&folder.path().join("to"), "much longer", 0o600);
        // Not every file system for temporary files knows attributes.
        let known = set(&from, c"user.pyro", b"kept").is_ok();
        overwrite(&from, &to).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join("to")).unwrap(),
            "short"
        );
        let (from, about) = (from.metadata().unwrap(), to.metadata().unwrap());
        assert_eq!(about.mode() & 0o7777, 0o640);
        assert_eq!(
            (about.mtime(), about.mtime_nsec()),
            (from.mtime(), from.mtime_nsec())
        );
        let expected = known.then(|| b"kept".to_vec());
        assert_eq!(value(&to, c"user.pyro").unwrap(), expected);
    }
}
