use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::VmRecord;
use crate::{Effect, Mcp, Names, Operation, Profile};

/// Stop a VM; its disk is kept until the VM is deleted
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmStop {
    /// VM id, as returned by `vm_create`
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
