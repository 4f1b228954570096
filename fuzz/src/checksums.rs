//! Makes the checksums of damaged input right again. Without that, little of it would get past them.

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Packet,
};

pub(crate) const TAR_BLOCK: usize = 512;

/// Where a header of tar has its checksum, and how many bytes of it count as spaces for that.
const TAR_CHECKSUM: std::ops::Range<usize> = 148..156;

/// The headers of a tar archive: what has the magic of one.
pub(crate) fn of_archive(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(TAR_BLOCK) {
        if block[257..262] == *b"ustar" {
            block[TAR_CHECKSUM].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[TAR_CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

/// One frame; or frames as the link sends them, each after its length.
pub(crate) fn of_frames(bytes: &mut [u8]) {
    of_frame(bytes);
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk_mut::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((frame, after)) = after.split_at_mut_checked(length) else {
            return;
        };
        of_frame(frame);
        rest = after;
    }
}

/// TCP and UDP have checksums, too, which nobody here looks at.
fn of_frame(frame: &mut [u8]) {
    let Ok(mut frame) = EthernetFrame::new_checked(frame) else {
        return;
    };
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => {
            let Ok(mut packet) = Ipv4Packet::new_checked(frame.payload_mut()) else {
                return;
            };
            packet.fill_checksum();
            if packet.next_header() == IpProtocol::Icmp
                && let Ok(mut icmp) = Icmpv4Packet::new_checked(packet.payload_mut())
            {
                icmp.fill_checksum();
            }
        }
        EthernetProtocol::Ipv6 => {
            let Ok(mut packet) = Ipv6Packet::new_checked(frame.payload_mut()) else {
                return;
            };
            let (from, to) = (packet.src_addr(), packet.dst_addr());
            if packet.next_header() == IpProtocol::Icmpv6
                && let Ok(mut icmp) = Icmpv6Packet::new_checked(packet.payload_mut())
            {
                icmp.fill_checksum(&from, &to);
            }
        }
        _ => {}
    }
}
