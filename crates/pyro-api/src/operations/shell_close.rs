use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::ShellRecord;
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Close a shell, and end what runs in it
///
/// It is hung up on, and killed after five seconds. What it wrote cannot be read any more; only
/// what a command took care to leave running in the background lives on.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ShellClose {
    /// Its id or its name
    pub workspace_id: String,
    /// The shell's id, or a beginning of it
    pub shell_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ShellClosed {
    #[serde(flatten)]
    pub shell: ShellRecord,
    pub closed: bool,
}

impl Report for ShellClosed {
    fn report(&self, text: &mut Text) {
        self.shell.report("close", text);
    }
}

impl Operation for ShellClose {
    type Output = ShellClosed;

    const NAMES: Names = Names {
        operation: "shell_close",
        cli: Some(Cli {
            path: &["workspace", "shell", "close"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "shell_close",
            "Close shell",
            Profile::WorkspaceFull,
            Effect::Removes,
        )),
        sdk: Some("close_shell"),
    };
}
