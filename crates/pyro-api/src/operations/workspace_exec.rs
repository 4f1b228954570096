use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{
    CommandLine, EnvVars, SecretEnv, TimeoutSeconds, TtyArgs, WaitSeconds, WorkspaceExecResult,
};
use crate::{Cli, Effect, Error, JsonFlag, Mcp, Names, Operation, Profile};

/// How much a command can be given to read, in bytes.
pub const LONGEST_STDIN: usize = 1024 * 1024;

/// Run a command in a workspace, in `/workspace`
///
/// Each command has its own shell: folders and variables do not carry over, files do. Long output
/// comes as its beginning and end; `workspace_logs` has the whole.
///
/// For long work raise `timeout_seconds` and give `wait_seconds`: after an answer with `running:
/// true` the command goes on, and `workspace_logs` follows it.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceExec {
    // The first, as it looks at what was typed for others, which each of them takes away.
    #[command(flatten)]
    #[serde(skip)]
    pub terminal: TtyArgs,
    /// Its id or its name
    pub workspace_id: String,
    /// The command, a line for `/bin/sh -l` (dash; for bash, `bash -c '…'`)
    #[command(flatten)]
    #[serde(default)]
    #[schemars(skip_serializing_if = "CommandLine::is_none")]
    pub command: CommandLine,
    /// Seconds until the command and all that it started are ended; what it printed comes back
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub timeout_seconds: TimeoutSeconds,
    /// Secrets of the workspace that the command gets, by their names, each with the name of the
    /// variable for it
    #[command(flatten)]
    #[serde(default)]
    pub secret_env: SecretEnv,
    /// Answer after so long at the latest; the command goes on
    #[arg(long, allow_negative_numbers = true)]
    #[serde(default)]
    pub wait_seconds: Option<WaitSeconds>,
    /// Answer at once; the command goes on
    #[arg(long)]
    #[serde(default)]
    pub background: bool,
    /// Text for its standard input
    // Only the command line has an input of its own.
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        help = "Text for its standard input; `-` is that of pyro"
    )]
    #[serde(default)]
    pub stdin: Option<String>,
    /// End the running command of this `sequence`; takes no command
    #[arg(long, value_name = "SEQUENCE")]
    #[serde(default)]
    pub stop: Option<u32>,
    /// Variables, from name to value
    #[command(flatten)]
    #[serde(default)]
    pub env: EnvVars,
    /// The folder to run in; below `/workspace` if relative
    #[arg(long)]
    #[serde(default)]
    pub cwd: Option<String>,
}

impl WorkspaceExec {
    /// What keeps the command from having a terminal: it may outlive whoever sits there, or reads
    /// something else.
    pub fn has_no_terminal_because(&self) -> Option<&'static str> {
        [
            ("`--stop`", self.stop.is_some()),
            ("`--background`", self.background),
            ("`--wait-seconds`", self.wait_seconds.is_some()),
            ("`--stdin`", self.stdin.is_some()),
        ]
        .into_iter()
        .find_map(|(flag, given)| given.then_some(flag))
    }
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
        if let Some(flag) = self.has_no_terminal_because()
            && self.terminal.is_insisted_on()
        {
            return Err(Error::invalid(format!(
                "`--tty` wants a terminal for the command, and one with {flag} has none"
            ))
            .hint("Leave one of the two out"));
        }
        if let Some(sequence) = self.stop {
            // Some hosts of models fill in every argument: what is empty was not given.
            let is_given = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
            let other = [
                ("a command", !self.command.is_empty()),
                ("`background`", self.background),
                ("`stdin`", is_given(self.stdin.as_deref())),
                ("`env`", !self.env.is_empty()),
                ("`cwd`", is_given(self.cwd.as_deref())),
                ("`secret_env`", !self.secret_env.is_empty()),
            ];
            return match other.into_iter().find(|(_, given)| *given) {
                None => Ok(()),
                Some((what, _)) => Err(Error::invalid(format!(
                    "`stop` ends command {sequence} and takes no other, but {what} is given"
                ))
                .hint("Stop the one first, and run the other then")),
            };
        }
        self.command.check()?;
        if self.background && self.wait_seconds.is_some() {
            return Err(Error::invalid(
                "`background` answers at once, so there is nothing for `wait_seconds` to wait for",
            )
            .hint("Give one of the two"));
        }
        if let Some(text) = &self.stdin
            && text.len() > LONGEST_STDIN
        {
            return Err(Error::invalid(format!(
                "`stdin` has {} bytes, and a command can be given {LONGEST_STDIN}",
                text.len()
            ))
            .hint(
                "Write it to a file with `pyro workspace file write` (`workspace_file_write`), and \
                 have the command read that",
            ));
        }
        self.secret_env.check()?;
        self.env.check(&self.secret_env)
    }
}
