//! One flow of datagrams: from one port of the guest to one port outside, and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use crate::icmp::{self, Reason};
use crate::link::{Inbox, Link};
use crate::packet::{Content, datagram, parse_packet};
use crate::tcp::Context;

/// How long a flow lasts without a datagram (RFC 4787 asks for two minutes at least).
const IDLE: Duration = Duration::from_secs(120);

/// Datagrams that may wait for one flow.
pub(crate) const INBOX: usize = 64;

/// The longest datagram there is.
const LONGEST: usize = 65_535;

/// Serves a flow until it is idle or the guest has gone.
pub(crate) async fn run(from_port: u16, to: SocketAddr, mut inbox: Inbox, context: Context) {
    let link = &context.link;
    let refused = |packet: &[u8], why| refuse(packet, why, link);
    let socket = match context.policy.authorize(to).await {
        Ok(target) => connect(target).await.map_err(|_| Reason::NoRoute),
        Err(_) => Err(Reason::Prohibited),
    };
    let socket = match socket {
        Ok(socket) => socket,
        Err(why) => {
            // What came first, and what came while it was found out.
            while let Some(packet) = inbox.next_now() {
                refused(&packet, why);
            }
            return;
        }
    };
    let mut buffer = vec![0; LONGEST];
    let mut last = Vec::new();
    let mut idle = Instant::now() + IDLE;
    loop {
        tokio::select! {
            packet = inbox.next() => {
                let Some(packet) = packet else { return };
                let content = parse_packet(&packet).map(|packet| packet.content);
                if let Some(Content::Udp { data, .. }) = content
                    && let Err(error) = socket.send(data).await
                {
                    let why = why(&error);
                    why.inspect(|why| refused(&packet, *why));
                }
                last = if packet.len() <= QUOTABLE { packet } else { Vec::new() };
            }
            received = socket.recv(&mut buffer) => match received {
                Ok(length) => if let Some(frame) = datagram(to, from_port, &buffer[..length]) {
                    // Here a guest that does not read loses datagrams, as it would anywhere.
                    link.send_or_drop(frame);
                },
                Err(error) => if let Some(why) = why(&error) {
                    refused(&last, why);
                }
            },
            () = sleep_until(idle) => return,
        }
        idle = Instant::now() + IDLE;
    }
}

/// Packets up to this length are kept to tell an error with, if one comes.
const QUOTABLE: usize = 2_048;

async fn connect(to: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: SocketAddr = match to.ip() {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    Ok(socket)
}

fn why(error: &std::io::Error) -> Option<Reason> {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Some(Reason::NoPort),
        std::io::ErrorKind::NetworkUnreachable => Some(Reason::NoRoute),
        std::io::ErrorKind::HostUnreachable => Some(Reason::NoHost),
        _ => None,
    }
}

fn refuse(packet: &[u8], why: Reason, link: &Link) {
    if let Some(frame) = icmp::unreachable(packet, why) {
        link.send_or_drop(frame);
    }
}
