//! Files that nobody but their owner may look into.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

const MODE: u32 = 0o600;

/// Opens a file as it is, or makes an empty one.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)
}

/// Makes a file where there is none.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)
}

/// Makes a file whose lock tells that its owner lives.
pub(crate) fn create_locked(path: &Path) -> io::Result<Flock<File>> {
    Flock::lock(create(path)?, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}
