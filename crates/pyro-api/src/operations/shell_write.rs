use clap::ArgAction;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::ShellRecord;
use crate::{Cli, Effect, Error, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// What is typed at once, in bytes.
const MOST: usize = 1024 * 1024;

/// Type text into a shell
///
/// A newline is added by default, as if Enter was pressed. Send keys as control characters: in JSON
/// `\u0003` for Ctrl-C, `\u0004` for Ctrl-D, `\u001b[A` for arrow up (on a command line `$'\x03'`
/// and so on). Read the shell afterwards to see the effect.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ShellWrite {
    /// Workspace id or name
    pub workspace_id: String,
    /// Shell id, or a prefix of it
    pub shell_id: String,
    /// What to type
    #[arg(long, required = true, value_name = "TEXT", allow_hyphen_values = true)]
    pub input: String,
    /// Whether to add a newline
    #[arg(
        long = "no-newline",
        action = ArgAction::SetFalse,
        help = "Do not add a newline"
    )]
    #[serde(default = "yes")]
    pub append_newline: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ShellWritten {
    #[serde(flatten)]
    pub shell: ShellRecord,
    /// Characters, the newline not counted.
    pub input_length: u64,
    pub append_newline: bool,
}

impl Report for ShellWritten {
    fn report(&self, text: &mut Text) {
        self.shell.report("write", text);
    }
}

impl Operation for ShellWrite {
    type Output = ShellWritten;

    const NAMES: Names = Names {
        operation: "shell_write",
        cli: Some(Cli {
            path: &["workspace", "shell", "write"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(
            Mcp::new(
                "shell_write",
                "Type into shell",
                Profile::WorkspaceFull,
                Effect::Changes,
            )
            .open_world(),
        ),
        sdk: Some("write_shell"),
    };

    fn check(&self) -> Result<(), Error> {
        if self.input.len() > MOST {
            return Err(Error::invalid(format!(
                "input must have at most {MOST} bytes, not {}",
                self.input.len()
            ))
            .hint(
                "Write it to a file with `pyro workspace file write` (`workspace_file_write`), or \
                 type it in parts",
            ));
        }
        Ok(())
    }
}
