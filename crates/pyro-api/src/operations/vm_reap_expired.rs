use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Effect, Mcp, Names, Operation, Profile, Report, Text};

/// Delete every one-shot VM that has expired
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmReapExpired {}

/// The VMs that were deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reaped {
    pub deleted_vm_ids: Vec<String>,
    pub count: usize,
}

impl Report for Reaped {
    fn report(&self, text: &mut Text) {
        for vm_id in &self.deleted_vm_ids {
            text.out(format!("Deleted VM: {vm_id}"));
        }
    }
}

impl Operation for VmReapExpired {
    type Output = Reaped;

    const NAMES: Names = Names {
        operation: "vm_reap_expired",
        cli: None,
        mcp: Some(Mcp::new(
            "vm_reap_expired",
            "Delete expired VMs",
            Profile::WorkspaceFull,
            Effect::Removes,
        )),
        sdk: Some("reap_expired"),
    };
}
