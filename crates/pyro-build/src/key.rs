//! What a step's result depends on, as one digest.

use std::fmt;

use sha2::{Digest, Sha256};

/// The digest of a step and of all before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// Of what is told apart by its parts, not by how they are joined.
    pub(crate) fn of<'a>(kind: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        // Whatever changes in how steps are done changes this, so that no old result is taken.
        for part in [b"pyro-build 1".as_slice(), kind.as_bytes()]
            .into_iter()
            .chain(parts)
        {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hex(&hash.finalize()))
    }

    /// Of an environment, by the digest of its disk and what it says about its programs.
    pub fn of_environment(digest: &str, config: &str) -> Self {
        Self::of("environment", [digest.as_bytes(), config.as_bytes()])
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let of = |parts: &[&str]| Key::of("x", parts.iter().map(|part| part.as_bytes()));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), Key::of("y", [b"a".as_slice()]));
        assert_eq!(of(&[]).as_str().len(), 64);
    }
}
