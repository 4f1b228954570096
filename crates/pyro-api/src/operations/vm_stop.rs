use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::VmRecord;
use crate::{Names, Operation};

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
        mcp: Some("vm_stop"),
        sdk: Some("stop_vm"),
    };
}
