use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{CommandLine, EnvVars, ExecResult, SecretEnv, TimeoutSeconds};
use crate::{Effect, Error, Mcp, Names, Operation, Profile};

/// Run one command in a started VM and delete the VM afterwards
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmExec {
    /// The VM, as `vm_create` named it
    pub vm_id: String,
    /// The command, a line for `/bin/sh -l` (dash; for bash, `bash -c '…'`)
    #[command(flatten)]
    pub command: CommandLine,
    /// Seconds until the command and everything it started are ended
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub timeout_seconds: TimeoutSeconds,
    /// Variables for the command, from name to value
    #[command(flatten)]
    #[serde(default)]
    pub env: EnvVars,
    /// The folder to run in; a relative one is below `/workspace`
    #[arg(long)]
    #[serde(default)]
    pub cwd: Option<String>,
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
