use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::WorkspaceRecord;
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Start a stopped workspace
///
/// Rarely needed: every use of its files or commands starts it.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceStart {
    /// Workspace id or name
    pub workspace_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Started(pub WorkspaceRecord);

impl Report for Started {
    fn report(&self, text: &mut Text) {
        self.0.report_as("Started workspace ID", text);
    }
}

impl Operation for WorkspaceStart {
    type Output = Started;

    const NAMES: Names = Names {
        operation: "workspace_start",
        cli: Some(Cli {
            path: &["workspace", "start"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_start",
            "Start workspace",
            Profile::WorkspaceFull,
            Effect::Sets,
        )),
        sdk: Some("start_workspace"),
    };
}
