use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{CommandLine, SecretEnv, TimeoutSeconds, WorkspaceExecResult};
use crate::{Cli, Effect, Error, JsonFlag, Mcp, Names, Operation, Profile};

/// Run a command in a workspace, in `/workspace`
///
/// Each command has its own shell: folders and variables do not carry over, files do. When the
/// time is over, the command and everything it started are ended and what it printed so far is
/// returned. Long output comes as its beginning and end; `workspace_logs` has the whole.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceExec {
    /// Its id, a beginning of it, or its name, where no other has the same
    pub workspace_id: String,
    /// The command, a line for `/bin/sh -l` (dash; for bash, `bash -c '…'`)
    #[command(flatten)]
    pub command: CommandLine,
    /// Seconds until the command and everything it started are ended
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub timeout_seconds: TimeoutSeconds,
    /// Secrets of the workspace that the command gets, by their names, each with the name of the
    /// variable for it
    #[command(flatten)]
    #[serde(default)]
    pub secret_env: SecretEnv,
}

impl Operation for WorkspaceExec {
    type Output = WorkspaceExecResult;

    const NAMES: Names = Names {
        operation: "workspace_exec",
        cli: Some(Cli {
            path: &["workspace", "exec"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(
            Mcp::new(
                "workspace_exec",
                "Run command",
                Profile::WorkspaceCore,
                Effect::Changes,
            )
            .open_world()
            .only_full(&["secret_env"]),
        ),
        sdk: Some("exec_workspace"),
    };

    fn check(&self) -> Result<(), Error> {
        self.command.check()?;
        self.secret_env.check()
    }
}
