//! Ports of this host that lead to ports of a guest.

use std::collections::BTreeSet;
use std::fmt;

use clap::{Arg, ArgAction, ArgMatches};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::InvalidValue;
use super::bounded::between;
use super::inline_schema::inline_schema;
use crate::Error;

/// How many a service can have.
const MOST: usize = 64;

/// Below are those that only root can bind.
const FIRST_HOST_PORT: u32 = 1025;
const LAST_PORT: u32 = 65_535;

const FLAG: &str = "publish";

/// A port that is open on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct PublishedPort {
    /// Always 127.0.0.1.
    pub host: String,
    pub host_port: u16,
    pub guest_port: u16,
    /// Always tcp.
    pub protocol: String,
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            host_port,
            guest_port,
            protocol,
        } = self;
        write!(to, "{host}:{host_port}->{guest_port}/{protocol}")
    }
}

/// A port that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawPortRequest")]
pub struct PortRequest {
    /// Any free one when absent.
    pub host_port: Option<u16>,
    pub guest_port: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPortRequest {
    #[serde(default)]
    host_port: Option<i64>,
    guest_port: i64,
}

impl TryFrom<RawPortRequest> for PortRequest {
    type Error = InvalidValue;

    fn try_from(given: RawPortRequest) -> Result<Self, InvalidValue> {
        let host_port = given.host_port.map(|port| in_bounds("host_port", port));
        Ok(Self {
            host_port: host_port.transpose()?,
            guest_port: in_bounds("guest_port", given.guest_port)?,
        })
    }
}

fn in_bounds(name: &'static str, port: i64) -> Result<u16, InvalidValue> {
    let min = match name {
        "host_port" => FIRST_HOST_PORT,
        _ => 1,
    };
    match u16::try_from(port) {
        Ok(bounded) if u32::from(bounded) >= min => Ok(bounded),
        _ => Err(InvalidValue::OutOfRange {
            name,
            allowed: between(min, LAST_PORT),
            given: port.to_string(),
        }),
    }
}

/// Ports for a service: in JSON a list of objects, on the command line `--publish [HOST:]GUEST`,
/// once for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct PortRequests(Vec<PortRequest>);

impl PortRequests {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &PortRequest> {
        self.0.iter()
    }

    /// Refuses what cannot be published together.
    pub fn check(&self) -> Result<(), Error> {
        if self.0.len() > MOST {
            return Err(Error::invalid(format!(
                "a service can publish {MOST} ports, not {}",
                self.0.len()
            )));
        }
        let mut seen = BTreeSet::new();
        for PortRequest {
            host_port,
            guest_port,
        } in &self.0
        {
            let key = host_port.ok_or(guest_port);
            if !seen.insert(key) {
                let twice = match host_port {
                    Some(port) => format!("Port {port} of this host is requested twice"),
                    None => format!("Port {guest_port} of the guest is published twice"),
                };
                return Err(Error::invalid(twice).hint("Give each its own port of this host"));
            }
        }
        Ok(())
    }
}

inline_schema!(PortRequests, {
    "type": "array",
    "default": [],
    "items": {
        "type": "object",
        "properties": {
            "guest_port": { "type": "integer", "minimum": 1, "maximum": LAST_PORT },
            "host_port": {
                "type": ["integer", "null"],
                "minimum": FIRST_HOST_PORT,
                "maximum": LAST_PORT,
            },
        },
        "required": ["guest_port"],
        "additionalProperties": false,
    },
});

impl clap::Args for PortRequests {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.arg(
            Arg::new(FLAG)
                .long(FLAG)
                .value_name("[HOST_PORT:]GUEST_PORT")
                .help("Publish this port of the guest on 127.0.0.1 of this host; may be repeated")
                .value_parser(parse)
                .action(ArgAction::Append),
        )
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for PortRequests {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let requests = matches.get_many::<PortRequest>(FLAG);
        Ok(Self(requests.unwrap_or_default().copied().collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn parse(text: &str) -> Result<PortRequest, InvalidValue> {
    let number = |name: &'static str, text: &str| {
        text.trim()
            .parse::<i64>()
            .map_err(|_| InvalidValue::NotANumber {
                name,
                given: text.to_owned(),
            })
    };
    let (host, guest) = match text.split_once(':') {
        Some((host, guest)) => (Some(number("host_port", host)?), guest),
        None => (None, text),
    };
    RawPortRequest {
        host_port: host,
        guest_port: number("guest_port", guest)?,
    }
    .try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_as_objects_or_as_words() {
        let json = r#"[{"guest_port": 80}, {"guest_port": 1, "host_port": 1025}, {"guest_port": 2, "host_port": null}]"#;
        let requests: PortRequests = serde_json::from_str(json).unwrap();
        let words: Vec<PortRequest> = ["80", "1025:1", "2"]
            .map(|text| parse(text).unwrap())
            .into();
        assert_eq!(requests.0, words);
        assert!(requests.check().is_ok());
        for refused in ["0", "65536", "1024:80", "a:80", "80:", "1:2:3", ""] {
            assert!(parse(refused).is_err(), "{refused}");
        }
        for refused in [
            r#"[{"host_port": 8080}]"#,
            r#"[{"guest_port": 0}]"#,
            r#"[{"guest_port": 1, "host_port": 80}]"#,
            r#"[{"guest_port": 1, "protocol": "udp"}]"#,
        ] {
            assert!(
                serde_json::from_str::<PortRequests>(refused).is_err(),
                "{refused}"
            );
        }
        let twice = PortRequests(vec![parse("8080:1").unwrap(), parse("8080:2").unwrap()]);
        assert!(twice.check().is_err());
        let again = PortRequests(vec![parse("80").unwrap(), parse("80").unwrap()]);
        assert!(again.check().is_err());
        let both = PortRequests(vec![parse("8080:80").unwrap(), parse("80").unwrap()]);
        assert!(both.check().is_ok());
    }
}
