use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{BASELINE, SnapshotName};
use crate::{
    Cli, Effect, Error, JsonFlag, Mcp, Names, Operation, Profile, Report, Text, report::plain,
};

/// Delete a saved state of a workspace
///
/// The files of the workspace and its other snapshots stay as they are. The space that only this
/// snapshot needed is freed.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct SnapshotDelete {
    /// Workspace id or name
    pub workspace_id: String,
    /// Any snapshot except `baseline`
    pub snapshot_name: SnapshotName,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SnapshotDeleted {
    pub workspace_id: String,
    pub snapshot_name: String,
    pub deleted: bool,
}

impl Report for SnapshotDeleted {
    fn report(&self, text: &mut Text) {
        text.out(format!(
            "Deleted workspace snapshot: {}",
            plain(&self.snapshot_name)
        ));
    }
}

impl Operation for SnapshotDelete {
    type Output = SnapshotDeleted;

    const NAMES: Names = Names {
        operation: "snapshot_delete",
        cli: Some(Cli {
            path: &["workspace", "snapshot", "delete"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "snapshot_delete",
            "Delete snapshot",
            Profile::WorkspaceFull,
            Effect::Removes,
        )),
        sdk: Some("delete_snapshot"),
    };

    fn check(&self) -> Result<(), Error> {
        if self.snapshot_name.as_str() == BASELINE {
            return Err(Error::invalid("The baseline cannot be deleted")
                .because("`workspace_diff` compares with it, and a reset may go back to it"));
        }
        Ok(())
    }
}
