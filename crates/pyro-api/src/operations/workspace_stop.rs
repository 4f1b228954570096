use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::WorkspaceRecord;
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Stop a workspace: processes and memory are lost, files are kept
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceStop {
    /// Workspace id or name
    pub workspace_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Stopped(pub WorkspaceRecord);

impl Report for Stopped {
    fn report(&self, text: &mut Text) {
        self.0.report_as("Stopped workspace ID", text);
    }
}

impl Operation for WorkspaceStop {
    type Output = Stopped;

    const NAMES: Names = Names {
        operation: "workspace_stop",
        cli: Some(Cli {
            path: &["workspace", "stop"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_stop",
            "Stop workspace",
            Profile::WorkspaceFull,
            Effect::Sets,
        )),
        sdk: Some("stop_workspace"),
    };
}
