use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::DeleteReason;
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Delete a workspace with all its files and history
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceDelete {
    /// Workspace id or name
    pub workspace_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WorkspaceDeleted {
    pub workspace_id: String,
    pub deleted: bool,
    pub reason: DeleteReason,
}

impl Report for WorkspaceDeleted {
    fn report(&self, text: &mut Text) {
        text.out(format!("Deleted workspace: {}", self.workspace_id));
    }
}

impl Operation for WorkspaceDelete {
    type Output = WorkspaceDeleted;

    const NAMES: Names = Names {
        operation: "workspace_delete",
        cli: Some(Cli {
            path: &["workspace", "delete"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_delete",
            "Delete workspace",
            Profile::WorkspaceCore,
            Effect::Removes,
        )),
        sdk: Some("delete_workspace"),
    };
}
