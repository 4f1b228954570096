//! Values in the clear, and what of a secret may be shown.

use pyro_api::values::SecretPublic;
use pyro_wire::secrets::{Secret, SecretValue};

use crate::core_dumps::NoCoreDumps;

/// Values in the clear, for as long as something is done with them.
pub(crate) struct PlainSecrets {
    pub(super) secrets: Vec<Secret>,
    pub(super) _no_cores: NoCoreDumps,
}

impl PlainSecrets {
    /// The value of one.
    pub(crate) fn value(&self, name: &str) -> Option<&[u8]> {
        let secret = self.secrets.iter().find(|secret| secret.name == name);
        secret.map(|secret| secret.value.bytes())
    }
}

/// A secret as records show it.
pub(super) fn public(name: &str, source_kind: &str) -> SecretPublic {
    SecretPublic {
        name: name.to_owned(),
        source_kind: source_kind.to_owned(),
    }
}

pub(super) fn secret(name: &str, value: Vec<u8>) -> Secret {
    Secret {
        name: name.to_owned(),
        value: SecretValue::new(value),
    }
}
