//! A file that QEMU takes for a kernel, for guests that are past their boot.
//!
//! QEMU makes one device out of `-create`, the option ROM that loads it, and a saved state knows of
//! that device. What is in the file the guest never sees. A file without the magic of Linux's boot
//! protocol counts as a kernel of the first days: at least five sectors long, and without initramfs.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::sys::memfd::{MFdFlags, memfd_create};

const SIZE: u64 = 8192;

/// The file, which needs no place on disk.
pub(super) fn create() -> io::Result<OwnedFd> {
    let file = File::from(memfd_create(c"stub", MFdFlags::MFD_CLOEXEC)?);
    file.set_len(SIZE)?;
    Ok(file.into())
}
