use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Effect, Mcp, Names, Operation, Profile, Report, Text};

/// Tell whether a VM has a network and what it reaches
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmNetworkInfo {
    /// The VM, as `vm_create` named it
    pub vm_id: String,
}

/// The network of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NetworkInfo {
    pub vm_id: String,
    pub network_enabled: bool,
    pub outbound_connectivity_expected: bool,
    /// Why there is no network.
    pub reason: String,
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
