//! The way of a hostile guest's bytes through everything that reads them, for fuzzing: the same
//! steps as in the router, without a socket of the host at their end.

use smoltcp::iface::SocketSet;
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::wire::IpListenEndpoint;

use crate::icmp::{self, Reason};
use crate::link::{Frames, Link};
use crate::packet::{Content, Frame, Packet, Segment, datagram, parse};
use crate::{dns, neighbours, ping, router, tcp};

/// A stream as QEMU sends it. Whether all of it is routed, and there is something of it.
pub fn stream(bytes: &[u8]) -> bool {
    let mut frames = Frames::default();
    let mut listener = None;
    let mut routed = None;
    for chunk in bytes.chunks(1_500) {
        frames.room().extend(chunk);
        while let Some(frame) = frames.next() {
            let this_one = one(frame, &mut listener);
            routed = Some(this_one && routed != Some(false));
        }
    }
    routed == Some(true)
}

/// One frame. Whether it is routed.
pub fn frame(bytes: &[u8]) -> bool {
    one(bytes, &mut None)
}

type Listener = (tcp::Stack, SocketSet<'static>);

fn one(frame: &[u8], listener: &mut Option<Listener>) -> bool {
    let frame = parse(frame);
    let is_routed = frame.is_some();
    match frame {
        Some(Frame::Arp(question)) => drop(neighbours::arp(&question)),
        Some(Frame::Packet(packet)) => content(&packet, listener),
        None => {}
    }
    is_routed
}

fn content(packet: &Packet<'_>, listener: &mut Option<Listener>) {
    for why in [
        Reason::Prohibited,
        Reason::NoRoute,
        Reason::NoHost,
        Reason::NoPort,
    ] {
        drop(icmp::unreachable(packet.bytes, why));
    }
    match packet.content {
        Content::Neighbour(content) => drop(neighbours::discovery(packet, content)),
        Content::Udp { from, to, data } => {
            let _ = dns::is_plain_query(data);
            drop(datagram((packet.to, to).into(), from, data));
        }
        Content::Echo { id, number, data } => drop(ping::answer(packet.to, id, number, data)),
        Content::Tcp { to, kind, .. } => {
            if !router::is_host(packet.to) {
                return;
            }
            let (link, _outgoing) = Link::new();
            tcp::refuse(packet.bytes, packet.to, &link);
            if kind == Segment::Syn {
                *listener = listen(packet, to);
            }
            if let Some((stack, sockets)) = listener {
                stack.take(packet.bytes.to_vec(), sockets);
            }
        }
    }
}

fn listen(packet: &Packet<'_>, port: u16) -> Option<Listener> {
    let stack = tcp::Stack::new(packet.to)?;
    let buffer = || SocketBuffer::new(vec![0; 4_096]);
    let mut socket = Socket::new(buffer(), buffer());
    let endpoint = IpListenEndpoint {
        addr: Some(packet.to.into()),
        port,
    };
    socket.listen(endpoint).ok()?;
    let mut sockets = SocketSet::new(Vec::new());
    sockets.add(socket);
    Some((stack, sockets))
}
