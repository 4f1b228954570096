//! Attempts at the network, and at programs that listen on this host.

use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::call::{Attempted, call, close};
use super::given::Given;
use super::plan::Plan;

fn socket(family: i32, kind: i32, protocol: i32) -> Result<i32, super::call::Stopped> {
    let kind = kind | libc::SOCK_CLOEXEC;
    call!(SYS_socket, family, kind, protocol).map(|fd| fd as i32)
}

/// Opens a socket, and no more than that.
pub(super) fn opens(family: i32, kind: i32, protocol: i32) -> Attempted {
    socket(family, kind, protocol).map(close)
}

fn loopback(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_be_bytes([127, 0, 0, 1]).to_be(),
        },
        sin_zero: [0; 8],
    }
}

pub(super) fn tcp(plan: &Plan) -> Attempted {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let to = loopback(plan.tcp_port);
    let connected = call!(
        SYS_connect,
        fd,
        &raw const to,
        size_of::<libc::sockaddr_in>()
    );
    close(fd);
    connected.map(drop)
}

pub(super) fn udp(plan: &Plan) -> Attempted {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let to = loopback(plan.udp_port);
    let size = size_of::<libc::sockaddr_in>();
    let sent = call!(SYS_sendto, fd, c"x".as_ptr(), 1, 0, &raw const to, size);
    close(fd);
    sent.map(drop)
}

/// Waits for connections from outside.
pub(super) fn listen(_: &Plan) -> Attempted {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let at = loopback(0);
    let listens = call!(SYS_bind, fd, &raw const at, size_of::<libc::sockaddr_in>())
        .and_then(|_| call!(SYS_listen, fd, 1));
    close(fd);
    listens.map(drop)
}

pub(super) fn abstract_name(plan: &Plan) -> Attempted {
    let mut name = vec![0];
    name.extend(plan.abstract_name.as_bytes());
    connect_local(&name)
}

pub(super) fn local(path: &Path) -> Attempted {
    connect_local(path.as_os_str().as_bytes())
}

pub(super) fn own_control(plan: &Plan) -> Attempted {
    local(&Given::here().folder(plan).join("control.sock"))
}

fn connect_local(name: &[u8]) -> Attempted {
    let fd = socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    let mut to = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as u16,
        sun_path: [0; 108],
    };
    for (byte, place) in name.iter().zip(&mut to.sun_path) {
        *place = *byte as libc::c_char;
    }
    let size = size_of::<u16>() + name.len();
    let connected = call!(SYS_connect, fd, &raw const to, size);
    close(fd);
    connected.map(drop)
}

/// A pair of sockets that lead nowhere, to see whether one can be made into a way out.
pub(super) fn bind_local(plan: &Plan) -> Attempted {
    let fd = socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    let mut at = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as u16,
        sun_path: [0; 108],
    };
    let name = format!("\0of-the-attacker-{}", plan.stranger);
    for (byte, place) in name.bytes().zip(&mut at.sun_path) {
        *place = byte as libc::c_char;
    }
    let bound = call!(SYS_bind, fd, &raw const at, size_of::<u16>() + name.len());
    close(fd);
    bound.map(drop)
}
