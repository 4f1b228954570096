//! A one-shot VM as its record shows it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::{Report, Text};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    Created,
    Started,
    Stopped,
}

impl std::fmt::Display for VmState {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(to)
    }
}

/// Where a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionMode {
    /// Not started yet.
    Pending,
    /// In a guest with its own kernel.
    GuestVsock,
    /// In a gVisor sandbox, whose kernel is a process of this host.
    Gvisor,
    /// As a process of this host, without isolation.
    HostCompat,
}

impl std::fmt::Display for ExecutionMode {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(to)
    }
}

/// A one-shot VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VmRecord {
    /// Twelve lower-case hex digits.
    pub vm_id: String,
    pub environment: String,
    pub environment_version: Option<String>,
    pub vcpu_count: u32,
    pub mem_mib: u32,
    pub ttl_seconds: u32,
    /// Seconds since 1970.
    pub created_at: f64,
    /// When the VM deletes itself, in seconds since 1970.
    pub expires_at: f64,
    pub state: VmState,
    pub network_enabled: bool,
    pub allow_host_compat: bool,
    pub guest_ip: Option<String>,
    pub tap_name: Option<String>,
    pub execution_mode: ExecutionMode,
    /// `kvm`, `tcg` (emulation), `systrap` (gVisor), or `none` (host process); absent before the first start.
    pub accelerator: Option<String>,
    /// Facts for people and logs; every value is text.
    pub metadata: BTreeMap<String, String>,
}

impl Report for VmRecord {
    fn report(&self, text: &mut Text) {
        text.field("VM ID", &self.vm_id);
        text.field("Environment", &self.environment);
        text.field("State", self.state.to_string());
        text.field("Execution mode", self.execution_mode.to_string());
    }
}

/// Why a VM was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeleteReason {
    ExplicitDelete,
    PostExecCleanup,
    RunVmErrorCleanup,
}

/// A VM that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VmDeleted {
    pub vm_id: String,
    pub deleted: bool,
    pub reason: DeleteReason,
}

impl Report for VmDeleted {
    fn report(&self, text: &mut Text) {
        text.out(format!("Deleted VM: {}", self.vm_id));
    }
}
