use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::Snapshot;
use crate::{
    Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text,
    report::{plain, yes_no},
};

/// List the saved states of a workspace
///
/// `baseline`, the first state, comes first; then the newest.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct SnapshotList {
    /// Workspace id or name
    pub workspace_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Snapshots {
    pub workspace_id: String,
    /// How many, with the baseline.
    pub count: u64,
    pub snapshots: Vec<Snapshot>,
}

impl Report for Snapshots {
    fn report(&self, text: &mut Text) {
        for snapshot in &self.snapshots {
            text.out(format!(
                "{} [{}] entry_count={} bytes_written={} deletable={}",
                plain(&snapshot.snapshot_name),
                snapshot.kind,
                snapshot.entry_count,
                snapshot.bytes_written,
                yes_no(snapshot.deletable)
            ));
        }
    }
}

impl Operation for SnapshotList {
    type Output = Snapshots;

    const NAMES: Names = Names {
        operation: "snapshot_list",
        cli: Some(Cli {
            path: &["workspace", "snapshot", "list"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "snapshot_list",
            "List snapshots",
            Profile::WorkspaceFull,
            Effect::Reads,
        )),
        sdk: Some("list_snapshots"),
    };
}
