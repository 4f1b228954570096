use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{MaxChars, ShellRecord, WaitForIdleMs};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Read the output of a shell from a cursor on
///
/// Start with cursor 0 and continue with the `next_cursor` of the answer. `plain` gives the text
/// that a person would see: no colours, progress bars in their last state, and the screen of a
/// full-screen program. `wait_for_idle_ms` waits until the shell has been silent for that long:
/// use it to see everything that a command prints.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ShellRead {
    /// Workspace id or name
    pub workspace_id: String,
    /// Shell id, or a prefix of it
    pub shell_id: String,
    /// The first character to read, counted from 0
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub cursor: u64,
    /// How many characters to read, as the shell wrote them
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub max_chars: MaxChars,
    /// Show what a person would see instead of the raw terminal output
    #[arg(long)]
    #[serde(default)]
    pub plain: bool,
    /// Wait until nothing has been written for this many milliseconds, 1 to 10000, but never longer
    /// than 30 seconds
    #[arg(long, allow_negative_numbers = true)]
    #[serde(default)]
    pub wait_for_idle_ms: Option<WaitForIdleMs>,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ShellText {
    #[serde(flatten)]
    pub shell: ShellRecord,
    /// Where the output begins; after the requested cursor when `lost_chars` is not 0.
    pub cursor: u64,
    /// Where to continue reading.
    pub next_cursor: u64,
    pub output: String,
    /// Whether there is more after `next_cursor`.
    pub truncated: bool,
    pub plain: bool,
    pub wait_for_idle_ms: Option<u32>,
    /// How many characters from the cursor on are gone: only the recent output is kept.
    pub lost_chars: u64,
}

impl Report for ShellText {
    fn report(&self, text: &mut Text) {
        text.out.extend_from_slice(self.output.as_bytes());
        if self.lost_chars > 0 {
            text.err(format!(
                "[note] {} characters before this are gone: only the recent output of a shell is \
                 kept",
                self.lost_chars
            ));
        }
        self.shell.report_memory("read", text);
        let wait = match self.wait_for_idle_ms {
            Some(wait) => wait.to_string(),
            None => "None".to_owned(),
        };
        text.err(format!(
            "{} cursor={} next_cursor={} truncated={} plain={} wait_for_idle_ms={wait} \
             execution_mode={}",
            self.shell.line("read"),
            self.cursor,
            self.next_cursor,
            true_false(self.truncated),
            true_false(self.plain),
            self.shell.execution_mode
        ));
    }
}

/// As the contract writes them in this one line.
fn true_false(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

impl Operation for ShellRead {
    type Output = ShellText;

    const NAMES: Names = Names {
        operation: "shell_read",
        cli: Some(Cli {
            path: &["workspace", "shell", "read"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "shell_read",
            "Read shell",
            Profile::WorkspaceFull,
            Effect::Reads,
        )),
        sdk: Some("read_shell"),
    };
}
