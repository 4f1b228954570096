//! What whoever started the agent has handed down to it: the channel, which is a connected Unix
//! socket, and what commands must not inherit in turn.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::SigSet;

/// The highest number that a descriptor may have: gVisor (2024) refuses a range with a higher one,
/// and closes and marks nothing.
pub(crate) const LAST_DESCRIPTOR: libc::c_uint = libc::c_int::MAX.unsigned_abs();

/// The highest real-time signal.
const LAST_SIGNAL: i32 = 64;

/// Takes the channel over. Called once for a descriptor, and before anything else is opened.
pub(crate) fn take_channel(number: RawFd) -> io::Result<UnixStream> {
    // SAFETY: `fcntl` only asks whether the descriptor is open.
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: it is open, and nothing else in this program uses it.
    let socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(number) });
    socket.peer_addr()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Commands inherit no descriptors, and no signals that whoever started us ignores or blocks.
pub(crate) fn reset(channel: &UnixStream) -> io::Result<()> {
    // SAFETY: this only marks descriptors; it closes none.
    let marked =
        unsafe { libc::close_range(3, LAST_DESCRIPTOR, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    // Kernels before 5.11 do not have it. There the channel at least must be marked.
    if Errno::result(marked).is_err() {
        fcntl(channel, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    for number in 1..=LAST_SIGNAL {
        // `std` ignores SIGPIPE for us and resets it for commands.
        if number != libc::SIGPIPE {
            // SAFETY: no handler is installed. The few signals that cannot be set are refused.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}
