//! SHA-256 digests, as `sha256:` and 64 hex digits.

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::OciError;

const PREFIX: &str = "sha256:";

/// The name of some bytes. Held without the word before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Other algorithms are refused: nobody uses them for images.
    pub fn parse(text: &str) -> Result<Self, OciError> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.strip_prefix(PREFIX) {
            Some(hex) if hex.len() == 64 && hex.bytes().all(digit) => Ok(Self(hex.to_owned())),
            _ => Err(OciError::BadDigest {
                text: text.chars().take(100).collect(),
            }),
        }
    }

    pub fn of(bytes: &[u8]) -> Self {
        Self::of_hash(Sha256::new_with_prefix(bytes))
    }

    pub(crate) fn of_hash(hash: Sha256) -> Self {
        let hex = hash.finalize();
        Self(hex.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The 64 digits.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

/// Hashes what is read through it.
pub(crate) struct Hashing<R> {
    from: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(from: R) -> Self {
        Self {
            from,
            hash: Sha256::new(),
        }
    }

    pub(crate) fn inner(&self) -> &R {
        &self.from
    }

    /// Reads what is left, and compares all of it with what it should be.
    pub(crate) fn finish(mut self, what: &str, expected: &Digest) -> Result<R, OciError> {
        io::copy(&mut self, &mut io::sink()).map_err(|source| OciError::Unreadable {
            what: what.to_owned(),
            source,
        })?;
        let found = Digest::of_hash(self.hash);
        match found == *expected {
            true => Ok(self.from),
            false => Err(OciError::WrongDigest {
                what: what.to_owned(),
                expected: expected.clone(),
                found,
            }),
        }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_are_read_as_some() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::parse(empty).unwrap(), Digest::of(b""));
        assert_eq!(Digest::of(b"").to_string(), empty);
        for bad in [
            "",
            "sha256:",
            "sha256:00",
            &empty.to_uppercase(),
            &empty[7..],
            "sha256:../../etc/passwd",
        ] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_left_unread_counts_too() {
        let mut hashing = Hashing::new(&b"some bytes"[..]);
        hashing.read_exact(&mut [0; 4]).unwrap();
        hashing.finish("it", &Digest::of(b"some bytes")).unwrap();
        let wrong = Hashing::new(&b"some bytes"[..]).finish("it", &Digest::of(b"some"));
        assert!(matches!(wrong, Err(OciError::WrongDigest { .. })));
    }
}
