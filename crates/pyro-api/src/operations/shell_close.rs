use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::ShellRecord;
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Close a shell, and end what runs in it
///
/// It gets SIGHUP, and is killed after five seconds. Its output can no longer be read. Only what
/// a command deliberately left running in the background keeps running.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ShellClose {
    /// Workspace id or name
    pub workspace_id: String,
    /// Shell id, or a prefix of it
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
