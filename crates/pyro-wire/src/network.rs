//! The guest's network: what the two ends of its one link agree on.
//!
//! Every guest has a network of its own, so all of them have the same addresses. They are of a block
//! that was set aside for the inside of a tunnel (192.0.0.0/29, RFC 7335): no private range that a
//! host may really be in, and none that a guest may want to reach.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The guest's own address.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 2);

/// The other end of the link: the next hop of everything, and the name server. Behind every other
/// port of it is the same port of the host's loopback, for whoever may reach that.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);

/// How many leading bits of both addresses are the same.
pub const PREFIX_V4: u8 = 29;

/// A unique local address, so that programs which can choose prefer IPv4: not every host has an
/// IPv6 to offer.
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd70, 0x7972, 0x6f00, 0, 0, 0, 0, 2);

/// The next hop of everything in IPv6. As [`GATEWAY_V4`] otherwise, but no name server.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd70, 0x7972, 0x6f00, 0, 0, 0, 0, 1);

pub const PREFIX_V6: u8 = 64;

/// The NIC of the guest. Locally administered; no two guests are on one link.
pub const GUEST_MAC: [u8; 6] = [0x52, 0x70, 0x79, 0x72, 0x6f, 0x02];

/// The other end.
pub const GATEWAY_MAC: [u8; 6] = [0x52, 0x70, 0x79, 0x72, 0x6f, 0x01];

/// The largest IP packet on the link, which is nearly the largest there is: what a packet costs
/// hardly depends on its size. Divisible by 8, and the same as `passt` uses.
pub const MTU: u16 = 65_520;

/// What a guest may reach. Everything that is neither the host nor near it needs no mention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What it may reach although the policy denies it.
    #[serde(default)]
    pub allow: Vec<Exception>,
}

/// Something that the policy denies, allowed by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    pub to: Destination,
    /// This port only. ICMP has none, and is let through by an exception without a port.
    #[serde(default)]
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// An address or a block: `10.1.0.0/16`.
    Block(String),
    /// A host name, looked up by the host when a guest connects.
    Name(String),
}
