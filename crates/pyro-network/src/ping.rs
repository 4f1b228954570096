//! Pings: the router answers its own; others go through a ping socket of the host, where the host
//! lets its users have one (`net.ipv4.ping_group_range`), and nowhere otherwise.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use pyro_wire::network::{GATEWAY_V4, GATEWAY_V6, GUEST_V6};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpProtocol};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use crate::icmp::{self, Reason};
use crate::link::Inbox;
use crate::packet::{Content, parse_packet, to_guest};
use crate::tcp::Context;

const IDLE: Duration = Duration::from_secs(20);

/// Pings that may wait for one flow.
pub(crate) const INBOX: usize = 16;

const LONGEST: usize = 65_535;

/// Whether the router itself is asked.
pub(crate) fn is_router(address: IpAddr) -> bool {
    address == IpAddr::V4(GATEWAY_V4) || address == IpAddr::V6(GATEWAY_V6)
}

/// The answer to a ping.
pub(crate) fn answer(from: IpAddr, id: u16, number: u16, data: &[u8]) -> Option<Vec<u8>> {
    let checks = ChecksumCapabilities::default();
    match from {
        IpAddr::V4(_) => {
            let answer = Icmpv4Repr::EchoReply {
                ident: id,
                seq_no: number,
                data,
            };
            to_guest(from, IpProtocol::Icmp, answer.buffer_len(), |room, _| {
                answer.emit(&mut Icmpv4Packet::new_unchecked(room), &checks);
            })
        }
        IpAddr::V6(v6) => {
            let answer = Icmpv6Repr::EchoReply {
                ident: id,
                seq_no: number,
                data,
            };
            to_guest(from, IpProtocol::Icmpv6, answer.buffer_len(), |room, _| {
                let mut packet = Icmpv6Packet::new_unchecked(room);
                answer.emit(&v6, &GUEST_V6, &mut packet, &checks);
            })
        }
    }
}

/// Serves the pings of one program to one address, until there are no more.
pub(crate) async fn run(id: u16, to: IpAddr, mut inbox: Inbox, context: Context) {
    let link = &context.link;
    let target = match context.policy.authorize(SocketAddr::new(to, 0)).await {
        Ok(target) => target.ip(),
        Err(_) => {
            while let Some(packet) = inbox.next_now() {
                if let Some(frame) = icmp::unreachable(&packet, Reason::Prohibited) {
                    link.send_or_drop(frame);
                }
            }
            return;
        }
    };
    // A ping that gets no answer is what a host without ping sockets can do.
    let Ok(socket) = ping_socket(target) else {
        return;
    };
    if socket.connect(SocketAddr::new(target, 0)).await.is_err() {
        return;
    }
    let mut buffer = vec![0; LONGEST];
    let mut idle = Instant::now() + IDLE;
    loop {
        tokio::select! {
            packet = inbox.next() => {
                let Some(packet) = packet else { return };
                let content = parse_packet(&packet).map(|packet| packet.content);
                if let Some(Content::Echo { number, data, .. }) = content {
                    let _ = socket.send(&question(target, number, data)).await;
                }
            }
            received = socket.recv(&mut buffer) => {
                let Ok(length) = received else { continue };
                if let Some((number, data)) = reply(target, &buffer[..length])
                    && let Some(frame) = answer(to, id, number, data)
                {
                    link.send_or_drop(frame);
                }
            }
            () = sleep_until(idle) => return,
        }
        idle = Instant::now() + IDLE;
    }
}

fn ping_socket(to: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
    };
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain system call.
    let socket = unsafe { libc::socket(family, kind, protocol) };
    Errno::result(socket)?;
    // SAFETY: the descriptor is fresh and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    UdpSocket::from_std(socket.into())
}

/// The kernel writes the identifier and the checksum.
fn question(to: IpAddr, number: u16, data: &[u8]) -> Vec<u8> {
    let kind = match to {
        IpAddr::V4(_) => 8,
        IpAddr::V6(_) => 128,
    };
    let mut message = vec![kind, 0, 0, 0, 0, 0];
    message.extend(number.to_be_bytes());
    message.extend(data);
    message
}

fn reply(from: IpAddr, message: &[u8]) -> Option<(u16, &[u8])> {
    let kind = match from {
        IpAddr::V4(_) => 0,
        IpAddr::V6(_) => 129,
    };
    let (header, data) = message.split_first_chunk::<8>()?;
    (header[0] == kind).then(|| (u16::from_be_bytes([header[6], header[7]]), data))
}
