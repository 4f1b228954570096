//! A guest's end of its link: an interface with the addresses and routes that every guest has
//! ([`pyro_wire::network`]), set up by ioctl(2). The agent does it inside of a VM, the shim before a
//! sandbox begins.
//!
//! Nothing here decides what the interface may reach.

use std::fs;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use pyro_wire::network::{GATEWAY_V4, GATEWAY_V6, GUEST_V4, GUEST_V6, MTU, PREFIX_V4, PREFIX_V6};

pub mod tap;

/// What the kernel would do by itself, and nobody needs on a link between two: ask for routers, look
/// whether an address is taken, make addresses up.
const QUIET: [(&str, &str); 4] = [
    ("accept_ra", "0"),
    ("accept_dad", "0"),
    ("dad_transmits", "0"),
    ("addr_gen_mode", "1"),
];

/// Whether there is an interface of this name.
pub fn exists(name: &str) -> bool {
    control_socket(libc::AF_INET)
        .and_then(|socket| ioctl(&socket, libc::SIOCGIFINDEX, &mut request(name)))
        .is_ok()
}

/// Gives an interface its addresses and routes, and brings it up. Without IPv6 in the kernel it has
/// none.
pub fn set_up(name: &str) -> io::Result<()> {
    for (setting, value) in QUIET {
        // A kernel without IPv6 has none of them.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/{setting}"), value);
    }
    let v4 = control_socket(libc::AF_INET)?;
    let configure = |what, fill: &dyn Fn(&mut libc::ifreq)| {
        let mut request = request(name);
        fill(&mut request);
        ioctl(&v4, what, &mut request)
    };
    configure(libc::SIOCSIFMTU, &|request| {
        request.ifr_ifru.ifru_mtu = i32::from(MTU);
    })?;
    configure(libc::SIOCSIFADDR, &|request| {
        request.ifr_ifru.ifru_addr = address(GUEST_V4);
    })?;
    configure(libc::SIOCSIFNETMASK, &|request| {
        let mask = u32::MAX.unbounded_shl(32 - u32::from(PREFIX_V4));
        request.ifr_ifru.ifru_netmask = address(Ipv4Addr::from(mask));
    })?;
    bring_up(name)?;
    add_route(&v4)?;
    if Path::new("/proc/net/if_inet6").exists() {
        set_up_v6(name)?;
    }
    Ok(())
}

/// Brings an interface up; `lo` also gets its addresses by that.
pub fn bring_up(name: &str) -> io::Result<()> {
    let socket = control_socket(libc::AF_INET)?;
    let mut request = request(name);
    ioctl(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    let up = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING);
    let up = up.map_err(io::Error::other)?;
    // SAFETY: the kernel has just written the flags there.
    request.ifr_ifru.ifru_flags = unsafe { request.ifr_ifru.ifru_flags } | up;
    ioctl(&socket, libc::SIOCSIFFLAGS, &mut request)
}

fn set_up_v6(name: &str) -> io::Result<()> {
    let socket = control_socket(libc::AF_INET6)?;
    let mut interface = request(name);
    ioctl(&socket, libc::SIOCGIFINDEX, &mut interface)?;
    // SAFETY: the kernel has just written the index there.
    let index = unsafe { interface.ifr_ifru.ifru_ifindex };
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
