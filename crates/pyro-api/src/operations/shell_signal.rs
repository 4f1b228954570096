use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ShellRecord, ShellSignal};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Signal what runs in the foreground of a shell
///
/// INT interrupts it as Ctrl-C does, KILL ends it for sure; the shell itself goes on. Where nothing
/// runs in the foreground the shell gets the signal. HUP reaches both.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ShellSignalSend {
    /// Its id or its name
    pub workspace_id: String,
    /// The shell's id, or a beginning of it
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
