use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{
    AllowNet, IdleSeconds, Isolation, Labels, MemMib, NetworkPolicy, Secrets, VcpuCount,
    WorkspaceName, WorkspaceRecord, check_allow_net,
};
use crate::{Cli, Effect, Error, JsonFlag, Mcp, Names, Only, Operation, Profile};

use std::path::PathBuf;

/// Create a workspace: a Linux VM whose files in `/workspace` last until it is deleted
///
/// For work that takes more than one command. Seed it from a project folder or archive of this
/// host; the host's files are copied, never changed. `workspace_diff` later compares with this
/// first state and `workspace_reset` returns to it.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceCreate {
    /// The environment to start from, such as `debian:12`
    pub environment: String,
    /// Virtual CPUs, 1 to 8
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub vcpu_count: VcpuCount,
    /// Memory in MiB, 256 to 32768
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub mem_mib: MemMib,
    /// Idle seconds until the VM is stopped, 60 to 2592000, 0 for never; files are kept
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub ttl_seconds: IdleSeconds,
    /// What the guest may reach
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// If no VM can run, run commands on this host, without isolation
    #[arg(long)]
    #[serde(default)]
    pub allow_host_compat: bool,
    /// A folder or .tar, .tar.gz, .tgz or .tar.zst file of this host to start from
    #[arg(long)]
    #[serde(default)]
    pub seed_path: Option<PathBuf>,
    /// What to leave out, as in `.gitignore`; also from pushes
    #[arg(long, value_name = "PATTERN")]
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Leave out what git ignores
    #[arg(long)]
    #[serde(default)]
    pub gitignore: bool,
    /// Secrets for its commands, at most 64 KiB of text each. They are kept off the disk and redacted
    /// from output; `secret_env` passes one to a command
    #[command(flatten)]
    #[serde(default)]
    pub secrets: Secrets,
    /// A name for the workspace
    #[arg(long)]
    #[serde(default)]
    pub name: Option<WorkspaceName>,
    /// Labels, as key and value
    #[command(flatten)]
    #[serde(default)]
    pub labels: Labels,
    /// Also allow these addresses, CIDR blocks or host names near this host, optionally with a port,
    /// such as `10.1.0.0/16` or `db.corp:5432`
    #[arg(long, value_name = "WHERE")]
    #[serde(default)]
    pub allow_net: Vec<AllowNet>,
    /// What keeps its commands apart from this host; as PYRO_ISOLATION says if not given, or `auto`
    #[arg(long, value_enum, ignore_case = true)]
    #[serde(default)]
    pub isolation: Option<Isolation>,
}

impl Operation for WorkspaceCreate {
    type Output = WorkspaceRecord;

    const NAMES: Names = Names {
        operation: "workspace_create",
        cli: Some(Cli {
            path: &["workspace", "create"],
            json: JsonFlag::Offered,
            only: Some(Only {
                flag: "id-only",
                help: "Print the id of the workspace and nothing else",
            }),
        }),
        mcp: Some(
            Mcp::new(
                "workspace_create",
                "Create workspace",
                Profile::WorkspaceCore,
                Effect::Adds,
            )
            .only_full(&["network_policy", "secrets", "allow_net", "isolation"]),
        ),
        sdk: Some("create_workspace"),
    };

    fn check(&self) -> Result<(), Error> {
        self.ttl_seconds.check()?;
        self.secrets.check()?;
        check_allow_net(&self.allow_net, self.network_policy.has_network())
    }
}
