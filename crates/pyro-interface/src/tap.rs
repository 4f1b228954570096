//! A tap interface: what is sent on it is read from its descriptor, a frame at each call, and what
//! is written there arrives on it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use pyro_wire::network::GUEST_MAC;

use super::{control_socket, ioctl, request};

/// Makes tap interfaces for whoever may open it.
pub const DEVICE: &str = "/dev/net/tun";

/// Makes a tap interface in the network namespace of the calling thread. It goes with its descriptor,
/// which does not block, or with the namespace.
pub fn create(name: &str) -> io::Result<OwnedFd> {
    let tap: OwnedFd = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)?
        .into();
    let mut interface = request(name);
    let flags = libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI);
    interface.ifr_ifru.ifru_flags = flags.map_err(io::Error::other)?;
    ioctl(&tap, libc::TUNSETIFF, &mut interface)?;

    let mut interface = request(name);
    // SAFETY: plain data for which zeros are valid.
    let mut address: libc::sockaddr = unsafe { std::mem::zeroed() };
    address.sa_family = libc::ARPHRD_ETHER;
    for (to, from) in address.sa_data.iter_mut().zip(GUEST_MAC) {
        *to = from.cast_signed();
    }
    interface.ifr_ifru.ifru_hwaddr = address;
    ioctl(
        &control_socket(libc::AF_INET)?,
        libc::SIOCSIFHWADDR,
        &mut interface,
    )?;
    Ok(tap)
}
