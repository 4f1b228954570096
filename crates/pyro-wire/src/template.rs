//! A template: a guest that was frozen while its agent waited for a host, to be resumed many times.
//!
//! The engine writes [`TemplateSpec`] as JSON to a file and starts `pyro shim --template FILE` with
//! its own life on standard input (a pipe that ends when the engine does). On standard output it
//! hears, as one line of JSON, [`TemplateBuilt`], or with exit status 1 a
//! [`Fault`](crate::fault::Fault).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::agent::Prepare;
use crate::launch::Qemu;

/// The guest's memory, sparse, as long as the guest's memory is large. Every VM maps it.
pub const MEMORY: &str = "memory";

/// The state of the processors and devices.
pub const DEVICES: &str = "devices";

/// [`TemplateBuilt`] once more, written last. A folder without it is no template.
pub const FACTS: &str = "facts.json";

/// Everything there is to know for saving a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateSpec {
    /// The engine's [`PROTOCOL`](crate::PROTOCOL).
    pub protocol: u32,
    /// The machine, as the VMs will have it. The top layer of its disk becomes part of the
    /// template: nothing may write to it afterwards, and every VM's own layer lies on it. A bare
    /// template never looks at the disk.
    pub qemu: Qemu,
    /// Mount the root disk and warm up. Without it the template is bare: it waits in the
    /// initramfs, and resumes on any disk.
    #[serde(default)]
    pub prepare: Option<Prepare>,
    /// Where the files go: exists, and holds none of them.
    pub folder: PathBuf,
    /// How long one boot may take before it is tried again, and then given up.
    pub boot_deadline_ms: u64,
}

/// A template that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateBuilt {
    /// `kvm` or `tcg`. The template can be resumed with the same one only.
    pub accelerator: String,
    /// Why this accelerator, in one sentence.
    pub accelerator_reason: String,
    /// QEMU's version, likewise.
    pub vmm_version: String,
    pub agent_version: String,
    pub kernel_release: String,
    /// It was booted by the kernel without compression: QEMU makes another device of that.
    #[serde(default)]
    pub vmlinux: bool,
    pub vcpu_count: u32,
    pub mem_mib: u32,
    /// Whether the root disk is mounted in it.
    pub mounted: bool,
    /// From the start to the first answer of the agent.
    pub boot_ms: u64,
    /// Mounting and warming up; 0 for a bare one.
    pub prepare_ms: u64,
    /// From the stop of the guest to the end of QEMU.
    pub save_ms: u64,
    /// Everything together.
    pub total_ms: u64,
    /// What memory and devices take on the disk, in bytes.
    pub disk_bytes: u64,
}
