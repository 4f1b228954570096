use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::own_status;
use crate::values::{DetachKeys, ShellRecord};
use crate::{Cli, JsonFlag, Names, Operation, Report, Text};

/// Put this terminal on a shell of a workspace
///
/// Without a shell's id a new one is opened. The detach keys leave the shell running; `exit` ends
/// it. The shell gets the size of this terminal, and follows it.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ShellAttach {
    /// Its id or its name
    pub workspace_id: String,
    /// The shell's id, or a beginning of it; a new shell without it
    #[serde(default)]
    pub shell_id: Option<String>,
    /// The keys that leave the shell, one after the other: `ctrl-]`, or `ctrl-p,ctrl-q`
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
                "[workspace-shell-attach] the shell runs on: `pyro workspace shell attach {} {}`",
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
