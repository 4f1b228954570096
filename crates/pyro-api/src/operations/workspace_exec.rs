use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{
    CommandLine, EnvVars, SecretEnv, TimeoutSeconds, TtyArgs, User, WaitSeconds,
    WorkspaceExecResult,
};
use crate::{Cli, Effect, Error, JsonFlag, Mcp, Names, Operation, Profile};

/// How much a command can be given to read, in bytes.
pub const LONGEST_STDIN: usize = 1024 * 1024;

/// Run a command in a workspace, in `/workspace`
///
/// Each command has its own shell: `cd` and variables do not carry over, files do. Long output is
/// cut in the middle; `workspace_logs` has all of it.
///
/// For long work raise `timeout_seconds` and give `wait_seconds`: after an answer with `running:
/// true` the command keeps running, and `workspace_logs` follows it.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceExec {
    // The first, as it looks at what was typed for others, which each of them takes away.
    #[command(flatten)]
    #[serde(skip)]
    pub terminal: TtyArgs,
    /// Workspace id or name
    pub workspace_id: String,
    /// A command line for `/bin/sh -l` (dash; for bash, `bash -c '…'`)
    #[command(flatten)]
    #[serde(default)]
    #[schemars(skip_serializing_if = "CommandLine::is_none")]
    pub command: CommandLine,
    /// Seconds until the command and all it started are ended; its output so far is returned
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub timeout_seconds: TimeoutSeconds,
    /// Secrets of the workspace to pass to the command: from secret name to variable name
    #[command(flatten)]
    #[serde(default)]
    pub secret_env: SecretEnv,
    /// Return after this many seconds at the latest; the command keeps running
    #[arg(long, allow_negative_numbers = true)]
    #[serde(default)]
    pub wait_seconds: Option<WaitSeconds>,
    /// Return at once; the command keeps running
    #[arg(long)]
    #[serde(default)]
    pub background: bool,
    /// Text for standard input
    // Only the command line has an input of its own.
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        help = "Text for standard input; `-` passes on that of pyro"
    )]
    #[serde(default)]
    pub stdin: Option<String>,
    /// End the running command with this `sequence`; takes no command
    #[arg(long, value_name = "SEQUENCE")]
    #[serde(default)]
    pub stop: Option<u32>,
    /// Environment variables, by name
    #[command(flatten)]
    #[serde(default)]
    pub env: EnvVars,
    /// The folder to run in; below `/workspace` if relative
    #[arg(long)]
    #[serde(default)]
    pub cwd: Option<String>,
    /// Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if not given
    #[arg(long, value_name = "USER")]
    #[serde(default)]
    pub user: Option<User>,
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
                "`--tty` cannot be combined with {flag}, which gives the command no terminal"
            ))
            .hint("Leave out one of the two"));
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
                ("`user`", is_given(self.user.as_ref().map(User::as_str))),
            ];
            return match other.into_iter().find(|(_, given)| *given) {
                None => Ok(()),
                Some((what, _)) => Err(Error::invalid(format!(
                    "`stop` ends command {sequence} and cannot be combined with {what}"
                ))
                .hint("Stop that command first, then run the other")),
            };
        }
        self.command.check()?;
        if self.background && self.wait_seconds.is_some() {
            return Err(Error::invalid(
                "`background` returns at once and cannot be combined with `wait_seconds`",
            )
            .hint("Give one of the two"));
        }
        if let Some(text) = &self.stdin
            && text.len() > LONGEST_STDIN
        {
            return Err(Error::invalid(format!(
                "`stdin` has {} bytes, and the limit is {LONGEST_STDIN}",
                text.len()
            ))
            .hint(
                "Write it to a file with `pyro workspace file write` (`workspace_file_write`), and \
                 let the command read that",
            ));
        }
        self.secret_env.check()?;
        self.env.check(&self.secret_env)
    }
}
