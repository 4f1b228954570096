//! The secrets of a guest on their way to its agent: what they may be called, how large they may
//! be, and a value that does not show itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The longest value, in bytes.
pub const MAX_VALUE: usize = 65_536;

/// How many secrets a workspace may have.
pub const MAX_SECRETS: usize = 64;

/// How long all values together may be, in bytes: every one is looked for in all output.
pub const MAX_TOGETHER: usize = 4 * MAX_VALUE;

/// Puts these secrets in place of all that the guest had. Sent before anything runs in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallSecrets {
    pub secrets: Vec<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    pub name: String,
    pub value: SecretValue,
}

/// The bytes of a secret: not shown in debug output, and overwritten when they are dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("SecretValue(..)")
    }
}

impl Serialize for SecretValue {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        serde_bytes::serialize(self.bytes(), to)
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        serde_bytes::deserialize(from).map(Self::new)
    }
}

/// A value as a variable shows it: most programs that are given a password do not expect a line end
/// at its end, and files that hold one have it.
pub fn without_line_end(value: &[u8]) -> &[u8] {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"\r").unwrap_or(value)
}

/// Whether this may be the name of a secret, or of the variable that shows it to a command. It
/// becomes a file name, so nothing else may pass.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && rest && text.len() <= 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_variables() {
        for name in ["A", "_", "token_2", &"a".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "2",
            "a-b",
            "a/b",
            "..",
            "ä",
            "a\n",
            "A=B",
            &"a".repeat(65),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn a_value_travels_and_does_not_show_itself() {
        let secret = Secret {
            name: "TOKEN".into(),
            value: SecretValue::new(b"hunter2".to_vec()),
        };
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(!format!("{secret:?}").contains("104"));
        let mut wire = Vec::new();
        ciborium::into_writer(&secret, &mut wire).unwrap();
        assert_eq!(
            ciborium::from_reader::<Secret, _>(wire.as_slice()).unwrap(),
            secret
        );
    }
}
