//! Small files of this host, read whole and through no link at their end.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::sys::stat::Mode;

/// The longest that is read, where nothing else is said.
const MAX_SIZE: u64 = 1024 * 1024;

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_up_to(&open(path)?, MAX_SIZE)
}

/// The same in an open folder.
pub(super) fn read_in(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<Vec<u8>> {
    read_up_to(&open_in(folder, name)?, MAX_SIZE)
}

/// Opens a file, through no link at its end; nothing waits for the other end of a FIFO.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
}

pub(super) fn open_in(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(File::from(fcntl::openat(
        folder,
        name,
        flags,
        Mode::empty(),
    )?))
}

/// All of a regular file that is not longer than that.
pub(super) fn read_up_to(file: &File, max_size: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    file.take(max_size + 1).read_to_end(&mut content)?;
    match content.len() as u64 > max_size {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(content),
    }
}

/// Why a file was not read, for people.
pub(super) fn unread(error: &io::Error) -> String {
    match error.kind() {
        _ if error.raw_os_error() == Some(Errno::ELOOP as i32) => "is a link".to_owned(),
        io::ErrorKind::InvalidInput => "is not a regular file".to_owned(),
        io::ErrorKind::FileTooLarge => "is too large".to_owned(),
        _ => format!("cannot be read ({error})"),
    }
}
