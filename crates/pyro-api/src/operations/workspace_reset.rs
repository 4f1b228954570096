use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{BASELINE, SnapshotKind, WorkspaceRecord};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Reset a workspace to its first state or to a snapshot
///
/// Restores the whole disk in a fresh VM: running processes end and later changes are lost. Id,
/// name, labels, snapshots and command history are kept.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceReset {
    /// Workspace id or name
    pub workspace_id: String,
    /// `baseline`, or the name of a snapshot
    #[arg(long, default_value = BASELINE)]
    #[serde(default = "baseline")]
    pub snapshot: String,
}

fn baseline() -> String {
    BASELINE.to_owned()
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Reset {
    #[serde(flatten)]
    pub workspace: WorkspaceRecord,
    pub workspace_reset: ResetSource,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct ResetSource {
    pub snapshot_name: String,
    pub kind: SnapshotKind,
    pub destination: String,
    pub entry_count: u64,
    pub bytes_written: u64,
}

impl Report for Reset {
    fn report(&self, text: &mut Text) {
        self.workspace.report_as("Reset workspace ID", text);
        let source = &self.workspace_reset;
        text.field(
            "Reset source",
            format!("{} ({})", source.snapshot_name, source.kind),
        );
        text.field(
            "Reset restore",
            format!(
                "destination={} entry_count={} bytes_written={}",
                source.destination, source.entry_count, source.bytes_written
            ),
        );
    }
}

impl Operation for WorkspaceReset {
    type Output = Reset;

    const NAMES: Names = Names {
        operation: "workspace_reset",
        cli: Some(Cli {
            path: &["workspace", "reset"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_reset",
            "Reset workspace",
            Profile::WorkspaceCore,
            Effect::Changes,
        )),
        sdk: Some("reset_workspace"),
    };
}
