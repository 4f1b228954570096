use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::VmRecord;
use crate::{Effect, Mcp, Names, Operation, Profile};

/// Show the state of a VM, its size and when it expires
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmStatus {
    /// VM id, as returned by `vm_create`
    pub vm_id: String,
}

impl Operation for VmStatus {
    type Output = VmRecord;

    const NAMES: Names = Names {
        operation: "vm_status",
        cli: None,
        mcp: Some(Mcp::new(
            "vm_status",
            "VM status",
            Profile::WorkspaceFull,
            Effect::Reads,
        )),
        sdk: Some("status_vm"),
    };
}
