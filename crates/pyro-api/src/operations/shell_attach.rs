use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::own_status;
use crate::values::{DetachKeys, ShellRecord};
use crate::{Cli, JsonFlag, Names, Operation, Report, Text};

/// Attach this terminal to a shell of a workspace
///
/// Without a shell id a new shell is opened. The detach keys leave the shell running; `exit` ends
/// it. The shell follows the size of this terminal.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ShellAttach {
    /// Workspace id or name
    pub workspace_id: String,
    /// Shell id, or a prefix of it; a new shell is opened without it
    #[serde(default)]
    pub shell_id: Option<String>,
    /// Keys that detach from the shell, pressed in sequence: `ctrl-]`, or `ctrl-p,ctrl-q`
    #[arg(long, default_value_t, value_name = "KEYS")]
    #[serde(default)]
    pub detach_keys: DetachKeys,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ShellLeft {
    #[serde(flatten)]
    pub shell: ShellRecord,
    /// Whether the shell was left running.
    pub detached: bool,
}

impl Report for ShellLeft {
    fn report(&self, text: &mut Text) {
        self.shell.report("attach", text);
        if self.detached {
            text.err(format!(
                "[workspace-shell-attach] the shell is still running: `pyro workspace shell attach \
                 {} {}`",
                self.shell.workspace_id, self.shell.shell_id
            ));
        }
    }

    fn exit_code(&self) -> u8 {
        match self.shell.exit_code {
            _ if self.detached => 0,
            Some(code) => own_status(code),
            None => 0,
        }
    }
}

impl Operation for ShellAttach {
    type Output = ShellLeft;

    const NAMES: Names = Names {
        operation: "shell_attach",
        cli: Some(Cli {
            path: &["workspace", "shell", "attach"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: None,
    };
}
