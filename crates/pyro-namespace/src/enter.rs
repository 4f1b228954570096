//! The namespaces of a program that runs already.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Moves this process into the namespaces of a program that this crate has started with
/// [`Namespaces::All`](crate::Namespaces::All), given by its pidfd. The PID namespace is that of
/// the children only; id and root are those of the namespaces.
///
/// Only for a process with one thread, and for whoever started the program.
pub fn enter(program: BorrowedFd<'_>) -> io::Result<()> {
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    // SAFETY: changes what this process sees of the system, and no memory.
    match unsafe { libc::setns(program.as_raw_fd(), namespaces) } {
        0 => {}
        _ => return Err(io::Error::last_os_error()),
    }
    nix::unistd::setgroups(&[])?;
    let zero = 0.into();
    nix::unistd::setresgid(zero, zero, zero)?;
    let zero = 0.into();
    nix::unistd::setresuid(zero, zero, zero)?;
    Ok(())
}
