//! What a guest may reach.
//!
//! Denied is exactly this, and all else is open:
//!
//! | what | how it is known |
//! |---|---|
//! | the host's loopback | 127.0.0.0/8, ::1, and the unspecified address, which Linux takes for it |
//! | the host's own addresses | asked of the kernel when a flow begins, in two ways |
//! | link-local and metadata addresses | 169.254.0.0/16, fe80::/10, fd00:ec2::254 |
//! | private ranges, other VMs among them | 10/8, 172.16/12, 192.168/16, fc00::/7 |
//! | any of the IPv4 ones inside an IPv6 one | ::ffff:0:0/96, 64:ff9b::/96, 64:ff9b:1::/48, 2002::/16 |
//!
//! Unless it is allowed by name. Names are looked up by the host, at the time of the attempt.
//! Groups (multicast, broadcast) are no destinations of a connection, and are not forwarded.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use pyro_wire::network::{Destination, GATEWAY_V4, GATEWAY_V6, Network};
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// How long the lookup of an allowed name may take.
const LOOKUP: Duration = Duration::from_secs(10);

pub(crate) struct Policy {
    allowed: Vec<Rule>,
    resolver: OnceCell<Option<TokioResolver>>,
}

struct Rule {
    to: To,
    port: Option<u16>,
}

enum To {
    Block(IpNet),
    Name(String),
}

/// What is wrong with a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    Loopback,
    OwnAddress,
    LinkLocal,
    Private,
    /// No destination of a connection.
    Multicast,
}

impl Policy {
    pub(crate) fn new(network: &Network) -> io::Result<Self> {
        let allowed = network.allow.iter().map(|exception| {
            let to = match &exception.to {
                Destination::Block(text) => To::Block(block(text)?),
                Destination::Name(name) => To::Name(name.clone()),
            };
            Ok(Rule {
                to,
                port: exception.port,
            })
        });
        Ok(Self {
            allowed: allowed.collect::<io::Result<_>>()?,
            resolver: OnceCell::new(),
        })
    }

    /// Where a flow to `wanted` may go, or why it may not.
    pub(crate) async fn authorize(&self, wanted: SocketAddr) -> Result<SocketAddr, Denied> {
        let to = SocketAddr::new(canonical(wanted.ip()), wanted.port());
        let Some(denied) = denied(to.ip(), &is_own) else {
            return Ok(to);
        };
        if denied != Denied::Multicast && (self.allows(to) || self.allows_by_name(to).await) {
            return Ok(to);
        }
        Err(denied)
    }

    fn allows(&self, to: SocketAddr) -> bool {
        self.rules_for(to.port()).any(|rule| match &rule.to {
            To::Block(block) => block.contains(&to.ip()),
            To::Name(_) => false,
        })
    }

    async fn allows_by_name(&self, to: SocketAddr) -> bool {
        for rule in self.rules_for(to.port()) {
            let To::Name(name) = &rule.to else { continue };
            if self.look_up(name).await.contains(&to.ip()) {
                return true;
            }
        }
        false
    }

    fn rules_for(&self, port: u16) -> impl Iterator<Item = &Rule> {
        let fits = move |rule: &&Rule| rule.port.is_none_or(|only| only == port);
        self.allowed.iter().filter(fits)
    }

    /// The addresses of a name, which the resolver remembers for as long as they last.
    async fn look_up(&self, name: &str) -> Vec<IpAddr> {
        let make = || async { TokioResolver::builder_tokio().ok()?.build().ok() };
        let Some(resolver) = self.resolver.get_or_init(make).await else {
            return Vec::new();
        };
        match timeout(LOOKUP, resolver.lookup_ip(name)).await {
            Ok(Ok(found)) => found.iter().map(canonical).collect(),
            _ => Vec::new(),
        }
    }
}

fn block(text: &str) -> io::Result<IpNet> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{text}` is neither an address nor a block of addresses"),
        )
    })
}

/// The router's own address stands for the host's loopback, and an IPv4-mapped IPv6 address for the
/// IPv4 one.
fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(GATEWAY_V4) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(GATEWAY_V6) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn denied(address: IpAddr, is_own: &dyn Fn(IpAddr) -> bool) -> Option<Denied> {
    let by_range = match address {
        IpAddr::V4(v4) => denied_v4(v4),
        IpAddr::V6(v6) => denied_v6(v6),
    };
    by_range.or_else(|| {
        if is_own(address) {
            return Some(Denied::OwnAddress);
        }
        let IpAddr::V6(v6) = address else { return None };
        denied(IpAddr::V4(embedded_v4(v6)?), is_own)
    })
}

fn denied_v4(address: Ipv4Addr) -> Option<Denied> {
    if address.is_loopback() || address.is_unspecified() {
        Some(Denied::Loopback)
    } else if address.is_link_local() {
        Some(Denied::LinkLocal)
    } else if address.is_private() {
        Some(Denied::Private)
    } else if address.is_multicast() || address.is_broadcast() {
        Some(Denied::Multicast)
    } else {
        None
    }
}

fn denied_v6(address: Ipv6Addr) -> Option<Denied> {
    if address.is_loopback() || address.is_unspecified() {
        Some(Denied::Loopback)
    } else if address.is_unicast_link_local() {
        Some(Denied::LinkLocal)
    } else if address.is_unique_local() {
        // The metadata address fd00:ec2::254 is one of them.
        Some(Denied::Private)
    } else if address.is_multicast() {
        Some(Denied::Multicast)
    } else {
        None
    }
}

/// The IPv4 address that a translator somewhere takes out of an IPv6 one.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // For local use (RFC 8215): where the address is depends on the translator's prefix.
        // Most take the end.
        [0x64, 0xff9b, 1, .., high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

/// Whether the host itself is at this address now. The list of the interfaces does not have every
/// one: a route may give the host a whole block. So the kernel is asked for the way there, too;
/// nothing is sent. A host that cannot tell is taken to be there.
fn is_own(address: IpAddr) -> bool {
    let Ok(interfaces) = getifaddrs() else {
        return true;
    };
    let own: HashSet<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
        })
        .collect();
    own.contains(&address) || routes_to_self(address)
}

fn routes_to_self(address: IpAddr) -> bool {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let source = UdpSocket::bind(any).and_then(|probe| {
        // Any port serves to find the way.
        probe.connect((address, 9))?;
        probe.local_addr()
    });
    // No way there, no host there: the connection will tell.
    source.is_ok_and(|source| source.ip() == address || source.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pyro_wire::network::Exception;

    use super::*;

    fn nobody(_: IpAddr) -> bool {
        false
    }

    fn ask(address: &str) -> Option<Denied> {
        let own = |address: IpAddr| address.to_string() == "198.51.100.9";
        denied(canonical(address.parse().unwrap()), &own)
    }

    #[test]
    fn what_is_named_is_denied() {
        for (address, why) in [
            ("127.0.0.1", Denied::Loopback),
            ("127.255.255.254", Denied::Loopback),
            ("0.0.0.0", Denied::Loopback),
            ("::", Denied::Loopback),
            ("::1", Denied::Loopback),
            ("192.0.0.1", Denied::Loopback),
            ("fd70:7972:6f00::1", Denied::Loopback),
            ("198.51.100.9", Denied::OwnAddress),
            ("169.254.169.254", Denied::LinkLocal),
            ("fe80::1", Denied::LinkLocal),
            ("febf::1", Denied::LinkLocal),
            ("fd00:ec2::254", Denied::Private),
            ("10.0.0.1", Denied::Private),
            ("172.16.0.1", Denied::Private),
            ("172.31.255.255", Denied::Private),
            ("192.168.1.1", Denied::Private),
            ("fc00::1", Denied::Private),
            ("fdff::1", Denied::Private),
            ("::ffff:10.0.0.1", Denied::Private),
            ("::ffff:127.0.0.1", Denied::Loopback),
            ("::ffff:198.51.100.9", Denied::OwnAddress),
            ("64:ff9b::10.0.0.1", Denied::Private),
            ("64:ff9b::169.254.169.254", Denied::LinkLocal),
            ("64:ff9b::198.51.100.9", Denied::OwnAddress),
            ("64:ff9b:1::192.168.0.1", Denied::Private),
            ("2002:a00:1::1", Denied::Private),
            ("2002:7f00:1::", Denied::Loopback),
            ("2002:c633:6409::", Denied::OwnAddress),
            ("224.0.0.251", Denied::Multicast),
            ("255.255.255.255", Denied::Multicast),
            ("ff02::fb", Denied::Multicast),
        ] {
            assert_eq!(ask(address), Some(why), "{address}");
        }
    }

    #[test]
    fn nothing_else_is_denied() {
        for address in [
            "1.1.1.1",
            "0.0.0.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.64.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "169.253.255.255",
            "192.0.2.1",
            "192.0.0.10",
            "192.88.99.1",
            "198.18.0.1",
            "198.51.100.8",
            "203.0.113.80",
            "240.0.0.1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::",
            "2001:db8::1",
            "2001::1",
            "100::1",
            "fec0::1",
            "2606:4700::1111",
        ] {
            assert_eq!(ask(address), None, "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_clothes_let_a_denied_address_through(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let plain = denied(IpAddr::V4(v4), &nobody);
            for clothed in [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(denied(canonical(IpAddr::V6(clothed)), &nobody), plain);
            }
        }
    }

    fn policy(rules: &[(Destination, Option<u16>)]) -> Policy {
        let allow = rules
            .iter()
            .map(|(to, port)| Exception {
                to: to.clone(),
                port: *port,
            })
            .collect();
        Policy::new(&Network { allow }).unwrap()
    }

    async fn may(policy: &Policy, to: &str) -> bool {
        policy.authorize(to.parse().unwrap()).await.is_ok()
    }

    #[tokio::test]
    async fn what_is_allowed_by_name_is_let_through_and_nothing_beside_it() {
        let block = |text: &str| Destination::Block(text.into());
        let policy = policy(&[
            (block("10.1.0.0/16"), None),
            (block("127.0.0.1"), Some(8080)),
            (block("fd00:1::/32"), Some(443)),
            (block("ff00::/8"), None),
        ]);
        for (to, may_go) in [
            ("10.1.2.3:22", true),
            ("[::ffff:10.1.2.3]:22", true),
            ("10.2.0.1:22", false),
            ("127.0.0.1:8080", true),
            ("192.0.0.1:8080", true),
            ("127.0.0.1:8081", false),
            ("127.0.0.2:8080", false),
            ("[fd00:1::5]:443", true),
            ("[fd00:1::5]:80", false),
            // A 6to4 address is another one, on another network.
            ("[2002:a01:203::1]:22", false),
            ("[ff02::1]:443", false),
        ] {
            assert_eq!(may(&policy, to).await, may_go, "{to}");
        }
    }

    #[tokio::test]
    async fn an_address_of_this_host_is_found_when_it_is_asked_for() {
        let nothing = policy(&[]);
        for address in getifaddrs().unwrap().filter_map(|it| it.address) {
            let Some(v4) = address.as_sockaddr_in() else {
                continue;
            };
            let to = SocketAddr::new(v4.ip().into(), 80);
            assert!(nothing.authorize(to).await.is_err(), "{to}");
        }
        assert!(routes_to_self("127.3.2.1".parse().unwrap()));
    }
}
