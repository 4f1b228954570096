use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::WorkspaceListItem;
use crate::{
    Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text,
    report::{moment, moment_or_never},
};

/// List the workspaces, most recently used first
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceList {
    /// How many workspaces to skip; MCP returns at most 32 KiB of them
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub skip: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct WorkspaceListed {
    /// How many are shown here.
    pub count: usize,
    /// How many there are.
    pub total: usize,
    /// The `skip` that continues behind them.
    pub next_skip: Option<u64>,
    /// Most recently used first.
    pub workspaces: Vec<WorkspaceListItem>,
}

impl Report for WorkspaceListed {
    fn report(&self, text: &mut Text) {
        if self.total == 0 {
            text.out("No workspaces.");
        }
        for workspace in &self.workspaces {
            let mut words = vec![format!(
                "[workspace] workspace_id={}",
                workspace.workspace_id
            )];
            words.extend(workspace.name.as_ref().map(|name| format!("name='{name}'")));
            words.push(format!("state={}", workspace.state));
            words.push(format!("environment={}", workspace.environment));
            words.push(format!("execution_mode={}", workspace.execution_mode));
            if !workspace.labels.is_empty() {
                words.push(format!("labels={}", workspace.labels.joined(",")));
            }
            words.push(format!(
                "last_activity_at={}",
                moment(workspace.last_activity_at)
            ));
            words.push(format!(
                "expires_at={}",
                moment_or_never(workspace.expires_at)
            ));
            words.extend(
                workspace
                    .time_left_seconds
                    .map(|left| format!("time_left_seconds={left}")),
            );
            words.extend(
                workspace
                    .stopped_because
                    .as_ref()
                    .map(|why| format!("stopped_because='{why}'")),
            );
            words.push(format!("commands={}", workspace.command_count));
            words.push(format!(
                "services={}/{}",
                workspace.running_service_count, workspace.service_count
            ));
            text.out(words.join(" "));
        }
        if let Some(next) = self.next_skip {
            text.err(format!(
                "[workspace-list] {} of {} workspaces shown; continue with --skip {next}",
                self.count, self.total
            ));
        }
    }
}

impl Operation for WorkspaceList {
    type Output = WorkspaceListed;

    const NAMES: Names = Names {
        operation: "workspace_list",
        cli: Some(Cli {
            path: &["workspace", "list"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_list",
            "List workspaces",
            Profile::WorkspaceCore,
            Effect::Reads,
        )),
        sdk: Some("list_workspaces"),
    };
}
