//! Tells the guest why a packet of it goes nowhere.

use std::net::IpAddr;

use pyro_wire::network::{GATEWAY_V4, GATEWAY_V6};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6DstUnreachable, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
};

use crate::packet::to_guest;

/// As much of the packet as is told back: ports and sequence number are in it.
const QUOTED: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The policy forbids it.
    Prohibited,
    /// The host has no way there.
    NoRoute,
    /// Nobody answers there.
    NoHost,
    /// Nobody listens there.
    NoPort,
}

/// The frame that tells about a packet of the guest.
pub(crate) fn unreachable(packet: &[u8], why: Reason) -> Option<Vec<u8>> {
    let checks = ChecksumCapabilities::default();
    if packet.first()? >> 4 == 4 {
        let whole = Ipv4Packet::new_checked(packet).ok()?;
        let header = Ipv4Repr::parse(&whole, &checks).ok()?;
        let payload = &packet[usize::from(whole.header_len())..];
        let message = Icmpv4Repr::DstUnreachable {
            reason: match why {
                Reason::Prohibited => Icmpv4DstUnreachable::CommProhibited,
                Reason::NoRoute => Icmpv4DstUnreachable::NetUnreachable,
                Reason::NoHost => Icmpv4DstUnreachable::HostUnreachable,
                Reason::NoPort => Icmpv4DstUnreachable::PortUnreachable,
            },
            header,
            data: &payload[..payload.len().min(QUOTED)],
        };
        let length = message.buffer_len();
        to_guest(
            IpAddr::V4(GATEWAY_V4),
            IpProtocol::Icmp,
            length,
            |room, _| {
                message.emit(&mut Icmpv4Packet::new_unchecked(room), &checks);
            },
        )
    } else {
        let whole = Ipv6Packet::new_checked(packet).ok()?;
        let header = Ipv6Repr::parse(&whole).ok()?;
        let payload = &packet[whole.header_len()..];
        let message = Icmpv6Repr::DstUnreachable {
            reason: match why {
                Reason::Prohibited => Icmpv6DstUnreachable::AdminProhibit,
                Reason::NoRoute => Icmpv6DstUnreachable::NoRoute,
                Reason::NoHost => Icmpv6DstUnreachable::AddrUnreachable,
                Reason::NoPort => Icmpv6DstUnreachable::PortUnreachable,
            },
            header,
            data: &payload[..payload.len().min(QUOTED)],
        };
        let length = message.buffer_len();
        let from = GATEWAY_V6;
        to_guest(IpAddr::V6(from), IpProtocol::Icmpv6, length, |room, to| {
            let IpAddr::V6(to) = to else { return };
            message.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(room), &checks);
        })
    }
}
