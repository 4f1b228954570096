use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ShellRecord, ShellSignal};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Send a signal to what runs in the foreground of a shell
///
/// INT interrupts it as Ctrl-C does, KILL always ends it; the shell itself keeps running. If nothing
/// runs in the foreground, the shell gets the signal. HUP reaches both.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ShellSignalSend {
    /// Workspace id or name
    pub workspace_id: String,
    /// Shell id, or a prefix of it
    pub shell_id: String,
    /// HUP, INT, TERM or KILL
    #[arg(long = "signal", value_enum, value_name = "SIGNAL", default_value_t)]
    #[serde(default)]
    pub signal_name: ShellSignal,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ShellSignalled {
    #[serde(flatten)]
    pub shell: ShellRecord,
    pub signal: ShellSignal,
}

impl Report for ShellSignalled {
    fn report(&self, text: &mut Text) {
        self.shell.report("signal", text);
    }
}

impl Operation for ShellSignalSend {
    type Output = ShellSignalled;

    const NAMES: Names = Names {
        operation: "shell_signal",
        cli: Some(Cli {
            path: &["workspace", "shell", "signal"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "shell_signal",
            "Signal shell",
            Profile::WorkspaceFull,
            Effect::Changes,
        )),
        sdk: Some("signal_shell"),
    };
}
