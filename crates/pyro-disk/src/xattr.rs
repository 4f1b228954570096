//! Extended attributes of open files and folders.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;

/// Of lists and of values: what Linux takes at most.
const LONGEST: usize = 64 * 1024;

pub(crate) fn set(file: &impl AsFd, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: the descriptor is open, the name ends with a zero, and the value is as long as said.
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

pub(crate) fn get(file: &impl AsFd, name: &CStr) -> nix::Result<Vec<u8>> {
    let mut value = vec![0; LONGEST];
    // SAFETY: the descriptor is open, the name ends with a zero, and the buffer is as long as said.
    let length = unsafe {
        libc::fgetxattr(
            file.as_fd().as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    value.truncate(filled(length)?);
    Ok(value)
}

pub(crate) fn remove(file: &impl AsFd, name: &CStr) -> nix::Result<()> {
    // SAFETY: the descriptor is open, and the name ends with a zero.
    let removed = unsafe { libc::fremovexattr(file.as_fd().as_raw_fd(), name.as_ptr()) };
    Errno::result(removed).map(drop)
}

/// The names of all that a file has; none on a file system that has no attributes.
pub(crate) fn names(file: &impl AsFd) -> nix::Result<Vec<CString>> {
    let fd = file.as_fd().as_raw_fd();
    // Most files have none, and for them no buffer is made.
    // SAFETY: the descriptor is open; with a length of 0 nothing is written.
    let needed = unsafe { libc::flistxattr(fd, std::ptr::null_mut(), 0) };
    match filled(needed) {
        Ok(0) | Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(errno) => return Err(errno),
    }
    let mut list = vec![0_u8; LONGEST];
    // SAFETY: the descriptor is open, and the buffer is as long as said.
    let length = unsafe { libc::flistxattr(fd, list.as_mut_ptr().cast(), list.len()) };
    list.truncate(filled(length)?);
    let names = list
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| CString::new(name).map_err(|_| Errno::EINVAL))
        .collect()
}

fn filled(length: libc::ssize_t) -> nix::Result<usize> {
    let length = Errno::result(length)?;
    usize::try_from(length).map_err(|_| Errno::EINVAL)
}
