//! The loopback interface. Real network cards are not the agent's subject.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Brings `lo` up, which also gives it its addresses.
pub(crate) fn raise_loopback() -> io::Result<()> {
    let socket = control_socket()?;
    // SAFETY: `ifreq` is plain data for which zeros are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: the kernel reads an `ifreq`, which `request` is.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) })?;
    Ok(())
}

/// Any socket serves to speak about interfaces.
fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: plain system call.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    Errno::result(socket)?;
    // SAFETY: the descriptor is fresh and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}
