use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{
    AllowNet, CommandLine, EnvVars, ExecResult, Isolation, MemMib, SecretEnv, TimeoutSeconds,
    TtlSeconds, TtyArgs, User, VcpuCount, check_allow_net,
};
use crate::{Cli, Effect, Error, JsonFlag, Mcp, Names, Operation, Profile};

/// Run one command in a fresh VM and delete the VM afterwards
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmRun {
    // The first, as it looks at what was typed for others, which each of them takes away.
    #[command(flatten)]
    #[serde(skip)]
    pub terminal: TtyArgs,
    /// The environment to start from, such as `debian:12`
    pub environment: String,
    /// A command line for `/bin/sh -l` (dash; for bash, `bash -c '…'`); by default what the image runs
    #[command(flatten)]
    #[serde(default)]
    #[schemars(skip_serializing_if = "CommandLine::is_none")]
    pub command: CommandLine,
    /// Virtual CPUs, 1 to 8
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub vcpu_count: VcpuCount,
    /// Memory in MiB, 256 to 32768
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub mem_mib: MemMib,
    /// Seconds until the command and everything it started are ended
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub timeout_seconds: TimeoutSeconds,
    /// Seconds until the VM deletes itself whatever happens, 60 to 3600; never before the timeout
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub ttl_seconds: TtlSeconds,
    /// Let the guest reach the internet, but not this host or the networks near it
    #[arg(long)]
    #[serde(default)]
    pub network: bool,
    /// If no VM can run, run the command on this host, without isolation
    #[arg(long)]
    #[serde(default)]
    pub allow_host_compat: bool,
    /// Also allow these addresses, CIDR blocks or host names near this host, optionally with a port,
    /// such as `10.1.0.0/16` or `db.corp:5432`
    #[arg(long, value_name = "WHERE")]
    #[serde(default)]
    pub allow_net: Vec<AllowNet>,
    /// Environment variables for the command, by name
    #[command(flatten)]
    #[serde(default)]
    pub env: EnvVars,
    /// The folder to run in; below `/workspace` if relative
    #[arg(long)]
    #[serde(default)]
    pub cwd: Option<String>,
    /// What keeps the command apart from this host; as PYRO_ISOLATION says if not given, or `auto`
    #[arg(long, value_enum, ignore_case = true)]
    #[serde(default)]
    pub isolation: Option<Isolation>,
    /// Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if not given
    #[arg(long, value_name = "USER")]
    #[serde(default)]
    pub user: Option<User>,
}

impl VmRun {
    /// A run in which everything else is as when nothing is said of it.
    pub fn new(environment: &str, command: CommandLine) -> Self {
        Self {
            terminal: TtyArgs::default(),
            environment: environment.to_owned(),
            command,
            vcpu_count: VcpuCount::default(),
            mem_mib: MemMib::default(),
            timeout_seconds: TimeoutSeconds::default(),
            ttl_seconds: TtlSeconds::default(),
            network: false,
            allow_host_compat: false,
            allow_net: Vec::new(),
            env: EnvVars::default(),
            cwd: None,
            isolation: None,
            user: None,
        }
    }
}

impl Operation for VmRun {
    type Output = ExecResult;

    const NAMES: Names = Names {
        operation: "vm_run",
        cli: Some(Cli {
            path: &["run"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(
            Mcp::new("vm_run", "Run in a fresh VM", Profile::VmRun, Effect::Adds)
                .open_world()
                .only_full(&["allow_net", "env", "cwd", "isolation", "user"]),
        ),
        sdk: Some("run_in_vm"),
    };

    fn check(&self) -> Result<(), Error> {
        // What an image runs is known to its configuration.
        if !self.command.is_none() {
            self.command.check()?;
        }
        self.env.check(&SecretEnv::default())?;
        check_allow_net(&self.allow_net, self.network)
    }
}
