use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::VmRecord;
use crate::{Effect, Mcp, Names, Operation, Profile};

/// Stop a VM; its disk stays until it is deleted
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmStop {
    /// The VM, as `vm_create` named it
    pub vm_id: String,
}

impl Operation for VmStop {
    type Output = VmRecord;

    const NAMES: Names = Names {
        operation: "vm_stop",
        cli: None,
        mcp: Some(Mcp::new(
            "vm_stop",
            "Stop VM",
            Profile::WorkspaceFull,
            Effect::Sets,
        )),
        sdk: Some("stop_vm"),
    };
}
