//! The saved states of a workspace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::word::word;

/// The snapshot that every workspace has: its first state.
pub const BASELINE: &str = "baseline";

word! {
    /// The name of a snapshot, as far as names go: whether it is reserved depends on what it is for.
    SnapshotName, "snapshot name"
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SnapshotKind {
    Baseline,
    Named,
}

impl std::fmt::Display for SnapshotKind {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(to)
    }
}

/// A saved state.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Snapshot {
    pub workspace_id: String,
    pub snapshot_name: String,
    pub kind: SnapshotKind,
    /// Seconds since 1970.
    pub created_at: f64,
    /// Files, folders and links below `/workspace`.
    pub entry_count: u64,
    /// Bytes of the regular files among them.
    pub bytes_written: u64,
    /// False only for the baseline.
    pub deletable: bool,
}
