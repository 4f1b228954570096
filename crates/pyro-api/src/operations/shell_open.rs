use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{EnvVars, SecretEnv, ShellCols, ShellRecord, ShellRows, User};
use crate::{Cli, Effect, Error, JsonFlag, Mcp, Names, Only, Operation, Profile, Report, Text};

/// Open an interactive shell in a workspace
///
/// For what needs a terminal, or state that lasts between calls: a debugger, an interactive prompt,
/// the current folder, variables. For everything else `workspace_exec` is simpler. The shell lives
/// until it is closed, or until the workspace is stopped or reset.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ShellOpen {
    /// Workspace id or name
    pub workspace_id: String,
    /// The folder to start in, below `/workspace`
    #[arg(long, default_value = DEFAULT_CWD)]
    #[serde(default = "default_cwd")]
    pub cwd: String,
    /// Width of the terminal, in columns
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub cols: ShellCols,
    /// Height of the terminal, in rows
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub rows: ShellRows,
    /// Secrets of the workspace to pass to the shell: from secret name to variable name
    #[command(flatten)]
    #[serde(default)]
    pub secret_env: SecretEnv,
    /// Environment variables for the shell, by name
    #[command(flatten)]
    #[serde(default)]
    pub env: EnvVars,
    /// Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if not given
    #[arg(long, value_name = "USER")]
    #[serde(default)]
    pub user: Option<User>,
}

const DEFAULT_CWD: &str = crate::values::WORKSPACE_PATH;

fn default_cwd() -> String {
    DEFAULT_CWD.to_owned()
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ShellOpened {
    #[serde(flatten)]
    pub shell: ShellRecord,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
}

impl Report for ShellOpened {
    fn report(&self, text: &mut Text) {
        text.out(&self.shell.shell_id);
        self.shell.report("open", text);
    }

    fn only(&self) -> Vec<u8> {
        format!("{}\n", self.shell.shell_id).into_bytes()
    }
}

impl Operation for ShellOpen {
    type Output = ShellOpened;

    const NAMES: Names = Names {
        operation: "shell_open",
        cli: Some(Cli {
            path: &["workspace", "shell", "open"],
            json: JsonFlag::Offered,
            only: Some(Only {
                flag: "id-only",
                help: "Print the shell's id and nothing else",
            }),
        }),
        mcp: Some(
            Mcp::new(
                "shell_open",
                "Open shell",
                Profile::WorkspaceFull,
                Effect::Adds,
            )
            .open_world(),
        ),
        sdk: Some("open_shell"),
    };

    fn check(&self) -> Result<(), Error> {
        self.secret_env.check()?;
        self.env.check(&self.secret_env)
    }
}
