use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::VmRecord;
use crate::{Effect, Mcp, Names, Operation, Profile};

/// Start a VM and wait until it is ready
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmStart {
    /// VM id, as returned by `vm_create`
    pub vm_id: String,
}

impl Operation for VmStart {
    type Output = VmRecord;

    const NAMES: Names = Names {
        operation: "vm_start",
        cli: None,
        mcp: Some(Mcp::new(
            "vm_start",
            "Start VM",
            Profile::WorkspaceFull,
            Effect::Changes,
        )),
        sdk: Some("start_vm"),
    };
}
