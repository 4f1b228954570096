use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{BASELINE, ExecutionMode, Snapshot, SnapshotName};
use crate::{
    Cli, Effect, Error, JsonFlag, Mcp, Names, Operation, Profile, Report, Text, report::plain,
};

/// Save the current state of a workspace under a name
///
/// Take one before something risky: `workspace_reset` goes back to it. It holds the whole disk,
/// including installed packages, and takes milliseconds whatever the size. Running processes keep
/// running and are not part of it.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    /// Workspace id or name
    pub workspace_id: String,
    /// A new name: letters, digits, `.`, `_`, `-`; not `baseline`
    pub snapshot_name: SnapshotName,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SnapshotCreated {
    pub workspace_id: String,
    pub snapshot: Snapshot,
    pub execution_mode: ExecutionMode,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
}

impl Report for SnapshotCreated {
    fn report(&self, text: &mut Text) {
        let snapshot = &self.snapshot;
        text.out(format!(
            "[workspace-snapshot-create] workspace_id={} snapshot_name={} kind={} entry_count={} \
             bytes_written={}",
            self.workspace_id,
            plain(&snapshot.snapshot_name),
            snapshot.kind,
            snapshot.entry_count,
            snapshot.bytes_written
        ));
    }
}

impl Operation for SnapshotCreate {
    type Output = SnapshotCreated;

    const NAMES: Names = Names {
        operation: "snapshot_create",
        cli: Some(Cli {
            path: &["workspace", "snapshot", "create"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "snapshot_create",
            "Create snapshot",
            Profile::WorkspaceFull,
            Effect::Adds,
        )),
        sdk: Some("create_snapshot"),
    };

    fn check(&self) -> Result<(), Error> {
        if self.snapshot_name.as_str() == BASELINE {
            return Err(
                Error::invalid("`baseline` is the name of every workspace's first state")
                    .hint("Give the snapshot another name"),
            );
        }
        Ok(())
    }
}
