use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::VmDeleted;
use crate::{Effect, Mcp, Names, Operation, Profile};

/// Delete a VM, running or not
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmDelete {
    /// VM id, as returned by `vm_create`
    pub vm_id: String,
}

impl Operation for VmDelete {
    type Output = VmDeleted;

    const NAMES: Names = Names {
        operation: "vm_delete",
        cli: None,
        mcp: Some(Mcp::new(
            "vm_delete",
            "Delete VM",
            Profile::WorkspaceFull,
            Effect::Removes,
        )),
        sdk: Some("delete_vm"),
    };
}
