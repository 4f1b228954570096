//! The keys by which a person leaves a shell.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};

use super::InvalidValue;
use super::inline_schema::inline_schema;

/// Bytes that a terminal sends for these keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl DetachKeys {
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Default for DetachKeys {
    /// The one that telnet has, which no shell and few programs use.
    fn default() -> Self {
        Self(vec![0x1d])
    }
}

impl FromStr for DetachKeys {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let keys: Option<Vec<u8>> = text.split(',').map(|key| byte(key.trim())).collect();
        keys.map(Self).ok_or_else(|| InvalidValue::Unknown {
            name: "detach_keys",
            expected: "characters or ctrl-X with X from a to z or @[\\]^_, with commas between them",
            given: text.to_owned(),
        })
    }
}

fn byte(key: &str) -> Option<u8> {
    let prefixed = key
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("ctrl-"));
    match (prefixed, key.as_bytes()) {
        (true, [.., letter]) if key.len() == 6 => match letter.to_ascii_uppercase() {
            upper @ b'@'..=b'_' => Some(upper & 0x1f),
            _ => None,
        },
        (false, [only]) if only.is_ascii_graphic() => Some(*only),
        _ => None,
    }
}

impl fmt::Display for DetachKeys {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match byte {
                0..0x20 => write!(
                    to,
                    "{comma}ctrl-{}",
                    char::from(byte | 0x40).to_ascii_lowercase()
                )?,
                _ => write!(to, "{comma}{}", char::from(*byte))?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for DetachKeys {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl serde::Serialize for DetachKeys {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

inline_schema!(DetachKeys, { "type": "string" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        for (text, bytes) in [
            ("ctrl-]", &[0x1d][..]),
            ("ctrl-p,ctrl-q", &[16, 17]),
            ("Ctrl-A,d", &[1, b'd']),
            ("~", b"~"),
        ] {
            let keys: DetachKeys = text.parse().unwrap();
            assert_eq!(keys.bytes(), bytes);
            assert_eq!(keys.to_string(), text.to_lowercase());
        }
        for refused in ["", "ctrl-", "ctrl-1", "ctrl-é", "ab", "a,,b", "\u{e9}"] {
            assert!(refused.parse::<DetachKeys>().is_err(), "{refused}");
        }
    }
}
