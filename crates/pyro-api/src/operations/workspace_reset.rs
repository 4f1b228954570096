use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::WorkspaceRecord;
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Bring a workspace back to its first state, or to a snapshot
///
/// A fresh VM on that state of the disk: whatever ran is ended and later changes are gone. Id,
/// name, labels and command history stay.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceReset {
    /// Its id, a beginning of it, or its name, where no other has the same
    pub workspace_id: String,
    /// `baseline`, or the name of a snapshot
    #[arg(long, default_value = BASELINE)]
    #[serde(default = "baseline")]
    pub snapshot: String,
}

/// The snapshot that every workspace has: its first state.
pub const BASELINE: &str = "baseline";

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SnapshotKind {
    Baseline,
    Named,
}

impl Report for Reset {
    fn report(&self, text: &mut Text) {
        self.workspace.report_as("Reset workspace ID", text);
        let source = &self.workspace_reset;
        let kind = match source.kind {
            SnapshotKind::Baseline => "baseline",
            SnapshotKind::Named => "named",
        };
        text.field("Reset source", format!("{} ({kind})", source.snapshot_name));
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
