//! Packets of the guest, parsed as far as is needed to know where they go; and headers for packets
//! to it.

use std::net::{IpAddr, SocketAddr};

use pyro_wire::network::{GATEWAY_MAC, GUEST_MAC, GUEST_V4, GUEST_V6, MTU};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpProtocol, IpRepr, Ipv4Packet,
    Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpPacket, UdpPacket, UdpRepr,
};

use crate::link::LENGTH;

/// Before each packet to the guest.
pub(crate) const HEADER: usize = LENGTH + 14;

/// A guest's packet has gone over no router yet, and an answer seems to have gone over few.
pub(crate) const HOP_LIMIT: u8 = 64;

/// A frame from the guest.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame<'a> {
    Arp(ArpRepr),
    Packet(Packet<'a>),
}

/// An IP packet of the guest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Packet<'a> {
    /// Whole, from its IP header on, without what the frame was filled up with.
    pub(crate) bytes: &'a [u8],
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) content: Content<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Content<'a> {
    Tcp {
        from: u16,
        to: u16,
        kind: Segment,
    },
    Udp {
        from: u16,
        to: u16,
        data: &'a [u8],
    },
    Echo {
        id: u16,
        number: u16,
        data: &'a [u8],
    },
    /// The ICMPv6 that finds neighbours.
    Neighbour(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// The first one of a connection.
    Syn,
    Rst,
    Other,
}

/// Parses a frame; `None` for what is not routed.
pub(crate) fn parse(frame: &[u8]) -> Option<Frame<'_>> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.src_addr() != EthernetAddress(GUEST_MAC) {
        return None;
    }
    match frame.ethertype() {
        EthernetProtocol::Arp => {
            let packet = ArpPacket::new_checked(frame.payload()).ok()?;
            ArpRepr::parse(&packet).ok().map(Frame::Arp)
        }
        // A packet for everybody on the link is for nobody: the only other one is a router.
        EthernetProtocol::Ipv4 if frame.dst_addr() == EthernetAddress(GATEWAY_MAC) => {
            ipv4(frame.payload()).map(Frame::Packet)
        }
        EthernetProtocol::Ipv6 => ipv6(frame.payload()).map(Frame::Packet),
        _ => None,
    }
}

/// Parses a packet without its frame.
pub(crate) fn parse_packet(bytes: &[u8]) -> Option<Packet<'_>> {
    if bytes.first()? >> 4 == 4 {
        ipv4(bytes)
    } else {
        ipv6(bytes)
    }
}

fn ipv4(bytes: &[u8]) -> Option<Packet<'_>> {
    let packet = Ipv4Packet::new_checked(bytes).ok()?;
    // The link takes the largest packets, so an honest guest makes no fragments.
    if packet.version() != 4
        || packet.more_frags()
        || packet.frag_offset() != 0
        || packet.src_addr() != GUEST_V4
    {
        return None;
    }
    let bytes = &bytes[..usize::from(packet.total_len())];
    let payload = &bytes[usize::from(packet.header_len())..];
    let content = match packet.next_header() {
        IpProtocol::Tcp => tcp(payload)?,
        IpProtocol::Udp => udp(payload)?,
        IpProtocol::Icmp => {
            let packet = Icmpv4Packet::new_checked(payload).ok()?;
            match Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()).ok()? {
                Icmpv4Repr::EchoRequest {
                    ident,
                    seq_no,
                    data,
                } => echo(ident, seq_no, data),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Packet {
        bytes,
        from: IpAddr::V4(packet.src_addr()),
        to: IpAddr::V4(packet.dst_addr()),
        content,
    })
}

fn ipv6(bytes: &[u8]) -> Option<Packet<'_>> {
    let packet = Ipv6Packet::new_checked(bytes).ok()?;
    if packet.version() != 6 {
        return None;
    }
    let bytes = &bytes[..packet.total_len()];
    let payload = &bytes[packet.header_len()..];
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    let own = from == GUEST_V6;
    // Headers between the IP header and its content are no use to anybody here.
    let content = match packet.next_header() {
        IpProtocol::Tcp if own => tcp(payload)?,
        IpProtocol::Udp if own => udp(payload)?,
        IpProtocol::Icmpv6 => {
            let icmp = Icmpv6Packet::new_checked(payload).ok()?;
            let checks = ChecksumCapabilities::default();
            match Icmpv6Repr::parse(&from, &to, &icmp, &checks).ok()? {
                Icmpv6Repr::EchoRequest {
                    ident,
                    seq_no,
                    data,
                } if own => echo(ident, seq_no, data),
                Icmpv6Repr::Ndisc(_) => Content::Neighbour(payload),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Packet {
        bytes,
        from: IpAddr::V6(from),
        to: IpAddr::V6(to),
        content,
    })
}

fn tcp(payload: &[u8]) -> Option<Content<'_>> {
    let packet = TcpPacket::new_checked(payload).ok()?;
    let kind = match (packet.syn(), packet.ack(), packet.rst()) {
        (_, _, true) => Segment::Rst,
        (true, false, false) => Segment::Syn,
        _ => Segment::Other,
    };
    ports(packet.src_port(), packet.dst_port())?;
    Some(Content::Tcp {
        from: packet.src_port(),
        to: packet.dst_port(),
        kind,
    })
}

fn udp(payload: &[u8]) -> Option<Content<'_>> {
    // The checksum is the guest's affair: nobody changes a packet on this link.
    let packet = UdpPacket::new_checked(payload).ok()?;
    ports(packet.src_port(), packet.dst_port())?;
    let end = usize::from(packet.len());
    Some(Content::Udp {
        from: packet.src_port(),
        to: packet.dst_port(),
        data: payload.get(8..end)?,
    })
}

fn ports(from: u16, to: u16) -> Option<()> {
    (from != 0 && to != 0).then_some(())
}

fn echo(id: u16, number: u16, data: &[u8]) -> Content<'_> {
    Content::Echo { id, number, data }
}

/// Room for the link's length, and the Ethernet header of a packet to the guest.
pub(crate) fn write_header(frame: &mut [u8], is_v4: bool) {
    let repr = EthernetRepr {
        src_addr: EthernetAddress(GATEWAY_MAC),
        dst_addr: EthernetAddress(GUEST_MAC),
        ethertype: if is_v4 {
            EthernetProtocol::Ipv4
        } else {
            EthernetProtocol::Ipv6
        },
    };
    repr.emit(&mut EthernetFrame::new_unchecked(&mut frame[LENGTH..]));
}

/// A frame to the guest with an IP header, and room for the content, which `fill` writes. `None`
/// where it would be too long.
pub(crate) fn to_guest(
    from: IpAddr,
    protocol: IpProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8], IpAddr),
) -> Option<Vec<u8>> {
    let (header, to, header_length) = match from {
        IpAddr::V4(from) => {
            let header = IpRepr::Ipv4(Ipv4Repr {
                src_addr: from,
                dst_addr: GUEST_V4,
                next_header: protocol,
                payload_len: length,
                hop_limit: HOP_LIMIT,
            });
            (header, IpAddr::V4(GUEST_V4), 20)
        }
        IpAddr::V6(from) => {
            let header = IpRepr::Ipv6(Ipv6Repr {
                src_addr: from,
                dst_addr: GUEST_V6,
                next_header: protocol,
                payload_len: length,
                hop_limit: HOP_LIMIT,
            });
            (header, IpAddr::V6(GUEST_V6), 40)
        }
    };
    if header_length + length > usize::from(MTU) {
        return None;
    }
    let mut frame = vec![0; HEADER + header_length + length];
    write_header(&mut frame, from.is_ipv4());
    let packet = &mut frame[HEADER..];
    header.emit(&mut *packet, &ChecksumCapabilities::default());
    fill(&mut packet[header_length..], to);
    Some(frame)
}

/// A datagram to the guest.
pub(crate) fn datagram(from: SocketAddr, to_port: u16, data: &[u8]) -> Option<Vec<u8>> {
    let repr = UdpRepr {
        src_port: from.port(),
        dst_port: to_port,
    };
    let length = repr.header_len() + data.len();
    to_guest(from.ip(), IpProtocol::Udp, length, |room, to| {
        repr.emit(
            &mut UdpPacket::new_unchecked(room),
            &IpAddress::from(from.ip()),
            &IpAddress::from(to),
            data.len(),
            |payload| payload.copy_from_slice(data),
            &ChecksumCapabilities::default(),
        );
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzzing;

    /// A frame as an honest guest sends it.
    fn honest(data: &[u8]) -> Vec<u8> {
        let udp = UdpRepr {
            src_port: 1000,
            dst_port: 53,
        };
        let header = Ipv4Repr {
            src_addr: GUEST_V4,
            dst_addr: [192, 0, 0, 1].into(),
            next_header: IpProtocol::Udp,
            payload_len: 8 + data.len(),
            hop_limit: 64,
        };
        let mut frame = vec![0; 14 + 20 + 8 + data.len()];
        EthernetRepr {
            src_addr: EthernetAddress(GUEST_MAC),
            dst_addr: EthernetAddress(GATEWAY_MAC),
            ethertype: EthernetProtocol::Ipv4,
        }
        .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
        let checks = ChecksumCapabilities::default();
        header.emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &checks);
        udp.emit(
            &mut UdpPacket::new_unchecked(&mut frame[34..]),
            &GUEST_V4.into(),
            &IpAddress::v4(192, 0, 0, 1),
            data.len(),
            |payload| payload.copy_from_slice(data),
            &checks,
        );
        frame
    }

    fn ipv6_header(protocol: u8, length: usize) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0, 0, length as u8, protocol, 255];
        header.extend(GUEST_V6.octets());
        header.extend(pyro_wire::network::GATEWAY_V6.octets());
        header
    }

    #[test]
    fn an_honest_datagram_is_parsed_without_its_padding() {
        let mut frame = honest(b"hello");
        frame.extend([0; 20]);
        let Some(Frame::Packet(packet)) = parse(&frame) else {
            panic!("not parsed");
        };
        assert_eq!(packet.bytes.len(), 33);
        let content = Content::Udp {
            from: 1000,
            to: 53,
            data: b"hello",
        };
        assert_eq!(packet.content, content);
    }

    #[test]
    fn another_sender_is_nobody() {
        let mut frame = honest(b"hello");
        frame[29] = 77;
        assert_eq!(parse(&frame), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn noise_is_refused_and_harms_nobody(frame in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzzing::frame(&frame);
        }

        #[test]
        fn noise_behind_an_honest_header_harms_nobody(
            data in prop::collection::vec(any::<u8>(), 0..100),
            changes in prop::collection::vec((0..142usize, any::<u8>()), 0..6),
            length in 0..142usize,
            protocol in prop::sample::select(&[1u8, 6, 17, 58][..]),
            version in prop::sample::select(&[[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06]][..]),
        ) {
            let mut frame = honest(&data);
            frame[12..14].copy_from_slice(&version);
            if version == [0x86, 0xdd] {
                frame.splice(14..34, ipv6_header(protocol, data.len() + 8));
            } else {
                frame[23] = protocol;
            }
            for (at, byte) in changes {
                if let Some(there) = frame.get_mut(at) {
                    *there = byte;
                }
            }
            frame.truncate(length);
            fuzzing::frame(&frame);
        }
    }
}
