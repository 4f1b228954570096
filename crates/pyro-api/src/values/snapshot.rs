//! The saved states of a workspace.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::label::{InvalidText, KEY_PATTERN, word};

/// The snapshot that every workspace has: its first state.
pub const BASELINE: &str = "baseline";

/// The name of a snapshot, as far as names go: whether it is reserved depends on what it is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotName(String);

impl SnapshotName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SnapshotName {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        word("snapshot name", text).map(Self)
    }
}

impl TryFrom<String> for SnapshotName {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        text.parse()
    }
}

impl From<SnapshotName> for String {
    fn from(name: SnapshotName) -> Self {
        name.0
    }
}

impl std::fmt::Display for SnapshotName {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(to)
    }
}

impl JsonSchema for SnapshotName {
    fn schema_name() -> Cow<'static, str> {
        "SnapshotName".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": KEY_PATTERN })
    }
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
