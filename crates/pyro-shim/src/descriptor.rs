//! Waiting for descriptors that tokio has no type for.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the runtime. Fails for what cannot be waited for, such as files.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives, and it lives
    // inside the `AsyncFd`.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(Into::into)
}
