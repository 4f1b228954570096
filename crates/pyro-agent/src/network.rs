//! The interfaces: loopback always, and the NIC where the guest has one.
//!
//! Every guest has a network of its own with the same addresses in it, so the NIC is set up before
//! a guest is frozen, and costs one that is resumed nothing. What the guest may reach is decided
//! outside of it.

use std::fs;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use pyro_wire::network::{GATEWAY_V4, GATEWAY_V6, GUEST_V4, GUEST_V6, MTU, PREFIX_V4, PREFIX_V6};

const LOOPBACK: &str = "lo";
const NIC: &str = "eth0";

const DEVICES: &str = "/sys/bus/pci/devices";
const INTERFACES: &str = "/sys/class/net";

/// A network card, to PCI.
const CLASS: &str = "0x020000";

/// How long the NIC may take to appear after its module is loaded.
const APPEAR: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(2);

/// What the kernel would do by itself, and nobody needs on a link between two: ask for routers, look
/// whether an address is taken, make addresses up.
const QUIET: [(&str, &str); 4] = [
    ("accept_ra", "0"),
    ("accept_dad", "0"),
    ("dad_transmits", "0"),
    ("addr_gen_mode", "1"),
];

/// Brings `lo` up, which also gives it its addresses.
pub(crate) fn bring_up_loopback() -> io::Result<()> {
    bring_up(&control_socket(libc::AF_INET)?, LOOPBACK)
}

/// Whether the guest was given a NIC.
pub(crate) fn has_nic() -> bool {
    let devices = fs::read_dir(DEVICES).into_iter().flatten().flatten();
    let mut classes = devices.map(|device| fs::read_to_string(device.path().join("class")));
    classes.any(|class| class.is_ok_and(|class| class.trim() == CLASS))
}

/// Whether there is a way out: a NIC of the guest's, or an interface that a sandbox was given.
pub(crate) fn is_attached() -> bool {
    has_nic()
        || control_socket(libc::AF_INET)
            .and_then(|socket| ioctl(&socket, libc::SIOCGIFINDEX, &mut request(NIC)))
            .is_ok()
}

/// Sets the NIC up where there is one.
pub(crate) async fn set_up_nic() -> io::Result<()> {
    if !has_nic() {
        return Ok(());
    }
    let until = tokio::time::Instant::now() + APPEAR;
    while !Path::new(INTERFACES).join(NIC).exists() {
        if tokio::time::Instant::now() >= until {
            return Err(io::Error::other("its driver has not created an interface"));
        }
        tokio::time::sleep(LOOK).await;
    }
    for (name, value) in QUIET {
        // A kernel without IPv6 has none of them.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{NIC}/{name}"), value);
    }
    let v4 = control_socket(libc::AF_INET)?;
    configure(&v4, libc::SIOCSIFMTU, |request| {
        request.ifr_ifru.ifru_mtu = i32::from(MTU);
    })?;
    configure(&v4, libc::SIOCSIFADDR, |request| {
        request.ifr_ifru.ifru_addr = address(GUEST_V4);
    })?;
    configure(&v4, libc::SIOCSIFNETMASK, |request| {
        let mask = Ipv4Addr::from(u32::MAX << (32 - PREFIX_V4));
        request.ifr_ifru.ifru_netmask = address(mask);
    })?;
    bring_up(&v4, NIC)?;
    add_route(&v4)?;
    if Path::new("/proc/net/if_inet6").exists() {
        set_up_v6()?;
    }
    Ok(())
}

fn set_up_v6() -> io::Result<()> {
    let socket = control_socket(libc::AF_INET6)?;
    let mut nic = request(NIC);
    ioctl(&socket, libc::SIOCGIFINDEX, &mut nic)?;
    // SAFETY: the kernel has just written the index there.
    let index = unsafe { nic.ifr_ifru.ifru_ifindex };
    let mut own = Address6 {
        address: in6(GUEST_V6),
        prefix: PREFIX_V6.into(),
        index,
    };
    ioctl(&socket, libc::SIOCSIFADDR, &mut own)?;
    let everywhere = in6(Ipv6Addr::UNSPECIFIED);
    let mut route = Route6 {
        to: everywhere,
        from: everywhere,
        gateway: in6(GATEWAY_V6),
        kind: 0,
        to_prefix: 0,
        from_prefix: 0,
        metric: 1,
        info: 0,
        flags: u32::from(libc::RTF_UP | libc::RTF_GATEWAY),
        index,
    };
    ioctl(&socket, libc::SIOCADDRT, &mut route)
}

/// `struct in6_ifreq` of `linux/ipv6.h`.
#[repr(C)]
struct Address6 {
    address: libc::in6_addr,
    prefix: u32,
    index: libc::c_int,
}

/// `struct in6_rtmsg` of `linux/ipv6_route.h`.
#[repr(C)]
struct Route6 {
    to: libc::in6_addr,
    from: libc::in6_addr,
    gateway: libc::in6_addr,
    kind: u32,
    to_prefix: u16,
    from_prefix: u16,
    metric: u32,
    info: libc::c_ulong,
    flags: u32,
    index: libc::c_int,
}

fn in6(address: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr {
        s6_addr: address.octets(),
    }
}

fn add_route(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: plain data for which zeros are valid; a device of null lets the kernel find it.
    let mut route: libc::rtentry = unsafe { mem::zeroed() };
    route.rt_dst = address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = address(GATEWAY_V4);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    ioctl(socket, libc::SIOCADDRT, &mut route)
}

fn bring_up(socket: &OwnedFd, name: &str) -> io::Result<()> {
    let mut request = request(name);
    ioctl(socket, libc::SIOCGIFFLAGS, &mut request)?;
    let up = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING);
    let up = up.map_err(io::Error::other)?;
    // SAFETY: the kernel has just written the flags there.
    request.ifr_ifru.ifru_flags = unsafe { request.ifr_ifru.ifru_flags } | up;
    ioctl(socket, libc::SIOCSIFFLAGS, &mut request)
}

fn configure(
    socket: &OwnedFd,
    what: libc::c_ulong,
    fill: impl FnOnce(&mut libc::ifreq),
) -> io::Result<()> {
    let mut request = request(NIC);
    fill(&mut request);
    ioctl(socket, what, &mut request)
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: `ifreq` is plain data for which zeros are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request
}

fn address(address: Ipv4Addr) -> libc::sockaddr {
    let [a, b, c, d] = address.octets().map(u8::cast_signed);
    // SAFETY: plain data for which zeros are valid.
    let mut plain: libc::sockaddr = unsafe { mem::zeroed() };
    plain.sa_family = libc::AF_INET as libc::sa_family_t;
    // After the port, two bytes, as in `sockaddr_in`.
    plain.sa_data[2..6].copy_from_slice(&[a, b, c, d]);
    plain
}

/// Every request here reads and writes one plain structure of the right size.
fn ioctl<T>(socket: &OwnedFd, what: libc::c_ulong, request: &mut T) -> io::Result<()> {
    // SAFETY: the callers pair each `what` with the structure that the kernel expects for it.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), what as _, request) })?;
    Ok(())
}

/// Any socket of the family serves to speak about interfaces.
fn control_socket(family: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: plain system call.
    let socket = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    Errno::result(socket)?;
    // SAFETY: the descriptor is fresh and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_where_the_kernel_looks_for_it() {
        let plain = address(Ipv4Addr::new(192, 0, 0, 2));
        // SAFETY: both structures are plain data of the same size.
        let found: libc::sockaddr_in = unsafe { mem::transmute(plain) };
        assert_eq!(u32::from_be(found.sin_addr.s_addr), 0xc000_0002);
        assert_eq!(i32::from(found.sin_family), libc::AF_INET);
    }
}
