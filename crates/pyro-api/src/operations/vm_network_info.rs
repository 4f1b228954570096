use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Effect, Mcp, Names, Operation, Profile, Report, Text};

/// Show whether a VM has a network and what it can reach
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmNetworkInfo {
    /// VM id, as returned by `vm_create`
    pub vm_id: String,
}

/// The network of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NetworkInfo {
    pub vm_id: String,
    pub network_enabled: bool,
    pub outbound_connectivity_expected: bool,
    /// Why it reaches what it reaches.
    pub reason: String,
    /// Always `user-mode`: the host has no device for it. Absent without a network, as the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tap_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_cidr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// The name server of the guest, which forwards queries to those of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_servers: Option<Vec<String>>,
    /// What it may reach near the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_net: Option<Vec<String>>,
}

impl Report for NetworkInfo {
    fn report(&self, text: &mut Text) {
        text.out(&self.reason);
    }
}

impl Operation for VmNetworkInfo {
    type Output = NetworkInfo;

    const NAMES: Names = Names {
        operation: "vm_network_info",
        cli: None,
        mcp: Some(Mcp::new(
            "vm_network_info",
            "VM network",
            Profile::WorkspaceFull,
            Effect::Reads,
        )),
        sdk: Some("network_info_vm"),
    };
}
