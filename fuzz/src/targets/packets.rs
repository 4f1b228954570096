//! What a guest with a network puts on its link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pyro_network::fuzzing;
use pyro_wire::network::{GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, GUEST_MAC, GUEST_V4, GUEST_V6, MTU};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpProtocol,
    IpRepr, NdiscRepr, RawHardwareAddress, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket,
    UdpRepr,
};

use crate::seeds::{Seed, SeedError};
use crate::{Target, checksums};

pub(crate) const TARGET: Target = Target {
    name: "packets",
    play,
    seeds,
    mend: checksums::of_frames,
    inputs: 80_000,
};

fn play(bytes: &[u8]) -> bool {
    fuzzing::frame(bytes) | fuzzing::stream(bytes)
}

const OUTSIDE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const OUTSIDE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));

/// Each kind of frame by itself, and connections from their beginning as the link sends them.
fn seeds() -> Result<Vec<Seed>, SeedError> {
    let gateway = IpAddr::V4(GATEWAY_V4);
    Ok(vec![
        Seed::new("arp", arp()),
        Seed::new("neighbour", neighbour()),
        Seed::new("dns", udp(gateway, 53, DNS_QUERY)),
        Seed::new("udp", udp(OUTSIDE_V6, 4_000, b"datagram")),
        Seed::new("echo", echo_v4()),
        Seed::new("echo-v6", echo_v6()),
        Seed::new("tcp", on_the_link(&connection(OUTSIDE_V4))),
        Seed::new("tcp-v6", on_the_link(&connection(OUTSIDE_V6))),
        Seed::new(
            "all",
            on_the_link(&[arp(), udp(gateway, 53, DNS_QUERY), echo_v4(), neighbour()]),
        ),
    ])
}

/// `example.org`, its address.
const DNS_QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";

fn on_the_link(frames: &[Vec<u8>]) -> Vec<u8> {
    let with_length = frames.iter().map(|frame| {
        let length = u32::try_from(frame.len()).expect("a short frame");
        [&length.to_be_bytes(), frame.as_slice()].concat()
    });
    with_length.collect::<Vec<_>>().concat()
}

/// Of the guest, with room for the content.
fn ethernet(ethertype: EthernetProtocol, length: usize) -> Vec<u8> {
    let mut frame = vec![0; EthernetFrame::<&[u8]>::buffer_len(length)];
    let header = EthernetRepr {
        src_addr: EthernetAddress(GUEST_MAC),
        dst_addr: EthernetAddress(GATEWAY_MAC),
        ethertype,
    };
    header.emit(&mut EthernetFrame::new_unchecked(&mut frame));
    frame
}

/// A packet of the guest's, whose content is so long and written by `fill`.
fn packet(
    to: IpAddr,
    protocol: IpProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8], IpAddress, IpAddress),
) -> Vec<u8> {
    let (from, ethertype) = match to {
        IpAddr::V4(_) => (IpAddr::V4(GUEST_V4), EthernetProtocol::Ipv4),
        IpAddr::V6(_) => (IpAddr::V6(GUEST_V6), EthernetProtocol::Ipv6),
    };
    let (from, to) = (IpAddress::from(from), IpAddress::from(to));
    // Neighbours have to be near.
    let header = IpRepr::new(from, to, protocol, length, 255);
    let mut frame = ethernet(ethertype, header.buffer_len());
    let content = EthernetFrame::<&[u8]>::header_len();
    header.emit(&mut frame[content..], &ChecksumCapabilities::default());
    let content = content + header.header_len();
    fill(&mut frame[content..], from, to);
    frame
}

fn arp() -> Vec<u8> {
    let question = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(GUEST_MAC),
        source_protocol_addr: GUEST_V4,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: GATEWAY_V4,
    };
    let mut frame = ethernet(EthernetProtocol::Arp, question.buffer_len());
    let content = EthernetFrame::<&[u8]>::header_len();
    question.emit(&mut ArpPacket::new_unchecked(&mut frame[content..]));
    frame
}

fn neighbour() -> Vec<u8> {
    icmp_v6(
        GATEWAY_V6,
        &Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
            target_addr: GATEWAY_V6,
            lladdr: Some(RawHardwareAddress::from(EthernetAddress(GUEST_MAC))),
        }),
    )
}

fn echo_v4() -> Vec<u8> {
    let echo = Icmpv4Repr::EchoRequest {
        ident: 9,
        seq_no: 1,
        data: b"are you there?",
    };
    packet(
        OUTSIDE_V4,
        IpProtocol::Icmp,
        echo.buffer_len(),
        |room, _, _| {
            echo.emit(
                &mut Icmpv4Packet::new_unchecked(room),
                &ChecksumCapabilities::default(),
            );
        },
    )
}

fn echo_v6() -> Vec<u8> {
    let echo = Icmpv6Repr::EchoRequest {
        ident: 9,
        seq_no: 1,
        data: b"are you there?",
    };
    icmp_v6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9), &echo)
}

fn icmp_v6(to: Ipv6Addr, content: &Icmpv6Repr<'_>) -> Vec<u8> {
    let length = content.buffer_len();
    packet(to.into(), IpProtocol::Icmpv6, length, |room, _, _| {
        content.emit(
            &GUEST_V6,
            &to,
            &mut Icmpv6Packet::new_unchecked(room),
            &ChecksumCapabilities::default(),
        );
    })
}

fn udp(to: IpAddr, port: u16, data: &[u8]) -> Vec<u8> {
    let header = UdpRepr {
        src_port: 40_000,
        dst_port: port,
    };
    let length = header.header_len() + data.len();
    packet(to, IpProtocol::Udp, length, |room, from, to| {
        header.emit(
            &mut UdpPacket::new_unchecked(room),
            &from,
            &to,
            data.len(),
            |payload| payload.copy_from_slice(data),
            &ChecksumCapabilities::default(),
        );
    })
}

/// Begins a connection, acknowledges, says something and closes it; and then resets it.
fn connection(to: IpAddr) -> Vec<Vec<u8>> {
    [
        (TcpControl::Syn, 0, &b""[..]),
        (TcpControl::None, 1, b""),
        (TcpControl::Psh, 1, b"GET / HTTP/1.0\r\n\r\n"),
        (TcpControl::Fin, 19, b""),
        (TcpControl::Rst, 20, b""),
    ]
    .map(|(control, number, payload)| segment(to, control, number, payload))
    .into()
}

fn segment(to: IpAddr, control: TcpControl, number: i32, payload: &[u8]) -> Vec<u8> {
    let begins = control == TcpControl::Syn;
    let segment = TcpRepr {
        src_port: 40_001,
        dst_port: 80,
        control,
        seq_number: TcpSeqNumber(number),
        ack_number: (!begins).then_some(TcpSeqNumber(1)),
        window_len: 64_240,
        window_scale: begins.then_some(7),
        max_seg_size: begins.then_some(MTU - 40),
        sack_permitted: begins,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    let length = segment.buffer_len();
    packet(to, IpProtocol::Tcp, length, |room, from, to| {
        segment.emit(
            &mut TcpPacket::new_unchecked(room),
            &from,
            &to,
            &ChecksumCapabilities::default(),
        );
    })
}
