//! Everything that shaped a tree.

use pyro_catalog::Installed;
use pyro_namespace::IdMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Raised when trees of before are of no use although nothing below has changed.
const GENERATION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    generation: u32,
    rootfs_digest: String,
    /// Whom the files belong to.
    ids: IdMap,
}

impl Identity {
    pub(super) fn of(installed: &Installed, ids: IdMap) -> Self {
        Self {
            generation: GENERATION,
            rootfs_digest: installed.rootfs_digest.clone(),
            ids,
        }
    }

    pub(super) fn key(&self) -> String {
        // Writing a struct of plain fields into memory has no way to fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let digest = Sha256::digest(text);
        digest[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
