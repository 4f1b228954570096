//! Who is on the link: the guest asks for its router, and nobody else answers to anything.

use std::net::Ipv4Addr;

use pyro_wire::network::{GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, GUEST_MAC, GUEST_V4};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags,
    NdiscRepr, RawHardwareAddress,
};

use crate::link::LENGTH;
use crate::packet::{HEADER, Packet, write_header};

const GATEWAY_HARDWARE: EthernetAddress = EthernetAddress(GATEWAY_MAC);

/// What neighbour discovery demands: nothing that came over a router counts.
const NDP_HOP_LIMIT: u8 = 255;

/// The answer to a question for the router's card.
pub(crate) fn arp(question: &ArpRepr) -> Option<Vec<u8>> {
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = *question
    else {
        return None;
    };
    if target_protocol_addr != GATEWAY_V4 || !may_ask(source_protocol_addr) {
        return None;
    }
    let answer = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: GATEWAY_HARDWARE,
        source_protocol_addr: GATEWAY_V4,
        target_hardware_addr: EthernetAddress(GUEST_MAC),
        target_protocol_addr: source_protocol_addr,
    };
    let mut frame = vec![0; HEADER + answer.buffer_len()];
    let repr = EthernetRepr {
        src_addr: GATEWAY_HARDWARE,
        dst_addr: EthernetAddress(GUEST_MAC),
        ethertype: EthernetProtocol::Arp,
    };
    repr.emit(&mut EthernetFrame::new_unchecked(&mut frame[LENGTH..]));
    answer.emit(&mut ArpPacket::new_unchecked(&mut frame[HEADER..]));
    Some(frame)
}

fn may_ask(address: Ipv4Addr) -> bool {
    address == GUEST_V4
}

/// The same in IPv6.
pub(crate) fn discovery(packet: &Packet<'_>, content: &[u8]) -> Option<Vec<u8>> {
    let (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) = (packet.from, packet.to) else {
        return None;
    };
    let checks = ChecksumCapabilities::default();
    let icmp = Icmpv6Packet::new_checked(content).ok()?;
    let asked = match Icmpv6Repr::parse(&from, &to, &icmp, &checks).ok()? {
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. }) => target_addr,
        _ => return None,
    };
    // Whoever has no address yet asks whether another has it; nobody has.
    if asked != GATEWAY_V6 || from.is_unspecified() || from.is_multicast() {
        return None;
    }
    let answer = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::ROUTER
            | NdiscNeighborFlags::SOLICITED
            | NdiscNeighborFlags::OVERRIDE,
        target_addr: asked,
        lladdr: Some(RawHardwareAddress::from(GATEWAY_HARDWARE)),
    });
    let header = Ipv6Repr {
        src_addr: asked,
        dst_addr: from,
        next_header: IpProtocol::Icmpv6,
        payload_len: answer.buffer_len(),
        hop_limit: NDP_HOP_LIMIT,
    };
    let mut frame = vec![0; HEADER + header.buffer_len() + answer.buffer_len()];
    write_header(&mut frame, false);
    let mut packet = Ipv6Packet::new_unchecked(&mut frame[HEADER..]);
    header.emit(&mut packet);
    answer.emit(
        &asked,
        &from,
        &mut Icmpv6Packet::new_unchecked(packet.payload_mut()),
        &checks,
    );
    Some(frame)
}
