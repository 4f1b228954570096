use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{
    AllowNet, Isolation, MemMib, TtlSeconds, VcpuCount, VmRecord, check_allow_net,
};
use crate::{Effect, Error, Mcp, Names, Operation, Profile};

/// Create a one-shot VM without starting it
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmCreate {
    /// The environment to start from, such as `debian:12`
    pub environment: String,
    /// Virtual CPUs, 1 to 8
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub vcpu_count: VcpuCount,
    /// Memory in MiB, 256 to 32768
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub mem_mib: MemMib,
    /// Seconds until the VM deletes itself, 60 to 3600
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub ttl_seconds: TtlSeconds,
    /// Let the guest reach the internet, but not this host or the networks near it
    #[arg(long)]
    #[serde(default)]
    pub network: bool,
    /// If no VM can run, run commands on this host, without isolation
    #[arg(long)]
    #[serde(default)]
    pub allow_host_compat: bool,
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

impl Operation for VmCreate {
    type Output = VmRecord;

    const NAMES: Names = Names {
        operation: "vm_create",
        cli: None,
        mcp: Some(Mcp::new(
            "vm_create",
            "Create VM",
            Profile::WorkspaceFull,
            Effect::Adds,
        )),
        sdk: Some("create_vm"),
    };

    fn check(&self) -> Result<(), Error> {
        check_allow_net(&self.allow_net, self.network)
    }
}
