use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::WorkspaceRecord;
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile};

/// Show the state of a workspace: whether it runs, why it stopped, its last command
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceStatus {
    /// Workspace id or name
    pub workspace_id: String,
}

impl Operation for WorkspaceStatus {
    type Output = WorkspaceRecord;

    const NAMES: Names = Names {
        operation: "workspace_status",
        cli: Some(Cli {
            path: &["workspace", "status"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_status",
            "Workspace status",
            Profile::WorkspaceCore,
            Effect::Reads,
        )),
        sdk: Some("status_workspace"),
    };
}
