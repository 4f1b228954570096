use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{CommandLine, EnvVars, ExecResult, SecretEnv, TimeoutSeconds, User};
use crate::{Effect, Error, Mcp, Names, Operation, Profile};

/// Run one command in a started VM and delete the VM afterwards
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmExec {
    /// VM id, as returned by `vm_create`
    pub vm_id: String,
    /// A command line for `/bin/sh -l` (dash; for bash, `bash -c '…'`)
    #[command(flatten)]
    pub command: CommandLine,
    /// Seconds until the command and everything it started are ended
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub timeout_seconds: TimeoutSeconds,
    /// Environment variables for the command, by name
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

impl Operation for VmExec {
    type Output = ExecResult;

    const NAMES: Names = Names {
        operation: "vm_exec",
        cli: None,
        mcp: Some(
            Mcp::new(
                "vm_exec",
                "Run and delete VM",
                Profile::WorkspaceFull,
                Effect::Changes,
            )
            .open_world(),
        ),
        sdk: Some("exec_vm"),
    };

    fn check(&self) -> Result<(), Error> {
        self.command.check()?;
        self.env.check(&SecretEnv::default())
    }
}
