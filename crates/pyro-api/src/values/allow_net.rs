//! Exceptions from what a guest's network denies: `10.1.0.0/16`, `db.corp:5432`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::inline_schema::inline_schema;
use crate::Error;

/// What a guest may reach although it is near the host, by address, block or name, with a port or
/// without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowNet {
    pub to: AllowedTo,
    /// This port only.
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedTo {
    /// An address, and how many leading bits of it count.
    Block(IpAddr, u8),
    /// A host name.
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not an address, CIDR block or host name with an optional port, such as \
     `10.1.0.0/16`, `192.168.1.5:5432`, `[fd00::1]:443` or `db.example.com:5432`"
)]
pub struct InvalidAllowNet {
    given: String,
}

impl FromStr for AllowNet {
    type Err = InvalidAllowNet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).ok_or_else(|| InvalidAllowNet {
            given: text.to_owned(),
        })
    }
}

/// More exceptions than anybody lists by hand; each is looked at for every connection.
const MOST: usize = 64;

/// The rules on the list as a whole.
pub fn check_allow_net(allow: &[AllowNet], has_network: bool) -> Result<(), Error> {
    if !allow.is_empty() && !has_network {
        return Err(
            Error::invalid("Network exceptions need a guest with a network")
                .because("`--allow-net` (`allow_net`) was given, but the network is off")
                .hint(
                    "Switch it on: `--network` (`network`), or for a workspace \
                     `--network-policy egress` (`network_policy`)",
                ),
        );
    }
    if allow.len() > MOST {
        return Err(
            Error::invalid(format!("At most {MOST} exceptions can be given"))
                .because(format!("`--allow-net` (`allow_net`) has {}", allow.len()))
                .hint("Combine neighbouring addresses into blocks, such as `10.1.0.0/16`"),
        );
    }
    Ok(())
}

fn parse(text: &str) -> Option<AllowNet> {
    // An IPv6 address has colons itself: with a port it is in brackets.
    if let Some(inside) = text.strip_prefix('[') {
        let (block, rest) = inside.split_once(']')?;
        let port = match rest {
            "" => None,
            rest => Some(port(rest.strip_prefix(':')?)?),
        };
        let to = block_of(block).filter(|to| matches!(to, AllowedTo::Block(IpAddr::V6(_), _)))?;
        return Some(AllowNet { to, port });
    }
    if let Some(to) = block_of(text) {
        return Some(AllowNet { to, port: None });
    }
    let (to, port) = match text.split_once(':') {
        Some((to, rest)) => (to, Some(port(rest)?)),
        None => (text, None),
    };
    let to = block_of(to).or_else(|| name(to))?;
    Some(AllowNet { to, port })
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

fn block_of(text: &str) -> Option<AllowedTo> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= most)?,
        None => most,
    };
    Some(AllowedTo::Block(address, bits))
}

fn name(text: &str) -> Option<AllowedTo> {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-')
    };
    let plain = text.strip_suffix('.').unwrap_or(text);
    // A name whose last part is a number is a mistyped address.
    let last = plain.rsplit('.').next()?;
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    let sound = text.len() <= 253 && plain.split('.').all(is_label) && !numeric;
    sound.then(|| AllowedTo::Name(plain.to_ascii_lowercase()))
}

impl fmt::Display for AllowNet {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.to, self.port) {
            (AllowedTo::Block(IpAddr::V6(_), _), Some(port)) => write!(to, "[{}]:{port}", self.to),
            (other, Some(port)) => write!(to, "{other}:{port}"),
            (other, None) => write!(to, "{other}"),
        }
    }
}

impl fmt::Display for AllowedTo {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(address, bits) => match (address, bits) {
                (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(to, "{address}"),
                _ => write!(to, "{address}/{bits}"),
            },
            Self::Name(name) => to.write_str(name),
        }
    }
}

impl Serialize for AllowNet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AllowNet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

inline_schema!(AllowNet, { "type": "string" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_alike() {
        for text in [
            "10.1.2.3",
            "10.1.0.0/16",
            "10.1.0.0/16:443",
            "192.168.1.5:5432",
            "fd00::1",
            "fd00::/8",
            "[fd00::1]:443",
            "[fd00::/8]:443",
            "db.example.com",
            "db.example.com:5432",
            "localhost:11434",
        ] {
            assert_eq!(text.parse::<AllowNet>().unwrap().to_string(), text);
        }
        let other = [
            (" DB.Example.com. ", "db.example.com"),
            ("[fd00::1]", "fd00::1"),
            ("10.1.2.3/32", "10.1.2.3"),
        ];
        for (text, wanted) in other {
            assert_eq!(text.parse::<AllowNet>().unwrap().to_string(), wanted);
        }
    }

    #[test]
    fn what_is_nothing_of_it_is_refused() {
        for text in [
            "",
            "10.1.2",
            "10.1.2.3/33",
            "10.1.2.300",
            "db.corp:0",
            "db.corp:70000",
            "db.corp:+1",
            "db.corp:http",
            "db corp",
            "http://db.corp",
            "-x",
            "*",
            "a..b",
            "[10.1.2.3]:80",
            "[fd00::1",
            "[fd00::1]80",
        ] {
            assert!(text.parse::<AllowNet>().is_err(), "{text}");
        }
    }
}
