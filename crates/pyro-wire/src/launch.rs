//! How a shim is started: the file that tells it everything, and the events it tells in return.
//!
//! The engine writes [`LaunchSpec`] as JSON to [`LAUNCH_FILE`] in the VM's folder and starts
//! `pyro shim <folder>` with the VM's *owner* on standard input (a pipe that ends when the owner
//! does) and the *event pipe* on standard output ([`LaunchEvent`] messages in frames).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::jail::{JailChoice, Walls};
use crate::network::Network;
use crate::step::Step;

/// File name of the launch file inside the VM's folder.
pub const LAUNCH_FILE: &str = "launch.json";

/// File name of the [`Ended`] record that a shim leaves behind in a folder that stays.
pub const END_FILE: &str = "end.json";

/// Everything a shim needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// The engine's [`PROTOCOL`](crate::PROTOCOL).
    pub protocol: u32,
    pub vm_id: String,
    pub hostname: String,
    pub machine: Machine,
    /// Folders that the shim works in beside its own: where layers of its disk are put, and what commands
    /// say is kept.
    #[serde(default)]
    pub folders: Vec<PathBuf>,
    /// How long one boot may take before it is tried again, and then given up.
    pub boot_deadline_ms: u64,
    /// When the VM ends by itself: milliseconds since 1970.
    #[serde(default)]
    pub expires_at_ms: Option<u64>,
    /// How long nobody may be connected before the VM is stopped, with its disk flushed. The time
    /// while the host slept counts, and setting its clock changes nothing.
    #[serde(default)]
    pub idle_ms: Option<u64>,
    /// End the VM when standard input ends, which is when its owner does.
    pub bound_to_owner: bool,
    /// The same, but only until the owner has written something: then what the VM is for is finished, and it
    /// is on its own.
    #[serde(default)]
    pub bound_until_released: bool,
    /// Remove the folder when the VM ends by itself (expiry, owner gone).
    pub remove_when_over: bool,
    /// Tell every step ([`LaunchEvent::Step`]).
    #[serde(default)]
    pub timings: bool,
    /// Variables of every command of the guest, as its environment has them.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Who runs commands of the guest when nobody is named, as its environment has it; root when absent.
    #[serde(default)]
    pub user: Option<String>,
    /// No guest of this VM's has answered yet. Its disk may have what agents noted about another guest, where
    /// it was made of a kept environment.
    #[serde(default)]
    pub new_disk: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Machine {
    Qemu(Qemu),
    Gvisor(Gvisor),
    Process(Process),
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qemu {
    pub binary: PathBuf,
    pub accelerator: AcceleratorChoice,
    /// Where the answer to "does KVM run guests here?" is remembered.
    pub probe_cache: PathBuf,
    pub kernel: PathBuf,
    /// The same kernel without its compression, which emulation boots faster, or why there is none.
    #[serde(default = "no_vmlinux")]
    pub vmlinux: Result<PathBuf, String>,
    pub initramfs: PathBuf,
    pub vcpu_count: u32,
    pub mem_mib: u32,
    /// The root disk, bottom layer first; the last one is written to.
    pub disk: Vec<DiskLayer>,
    /// The folder of a template to resume instead of booting. When that fails the VM boots, on
    /// the same disk.
    #[serde(default)]
    pub template: Option<PathBuf>,
    /// What the guest may reach; without it, it has no network card.
    #[serde(default)]
    pub network: Option<Network>,
    #[serde(default)]
    pub jail: JailChoice,
}

fn no_vmlinux() -> Result<PathBuf, String> {
    Err("none was given".to_owned())
}

/// A sandbox of gVisor: its kernel is a process, and its disk is folders of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gvisor {
    pub runsc: PathBuf,
    /// The version of that program, which nobody needs to ask for again.
    pub version: String,
    pub agent: PathBuf,
    pub vcpu_count: u32,
    pub mem_mib: u32,
    /// The root disk, bottom layer first; the last one is written to. Every layer is a
    /// [`DiskFormat::Folder`]: the first is a tree of files, each of the others has the folders
    /// `upper` and `work`.
    pub disk: Vec<DiskLayer>,
    /// What the guest may reach; without it, it has only its own loopback.
    #[serde(default)]
    pub network: Option<Network>,
    #[serde(default)]
    pub runs: Runs,
    /// Which walls must stand around the process of its network.
    #[serde(default)]
    pub jail: JailChoice,
    /// How long nobody may ask for files until the agent ends that serves them beside the guest.
    pub files_idle_ms: u64,
}

/// What there is on the disk of a [`Gvisor`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runs {
    /// A guest.
    #[default]
    Sandbox,
    /// The agent alone, as a program of the host in the same namespaces, which serves requests about
    /// files and no others: nothing of the disk is ever executed.
    Files,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLayer {
    pub path: PathBuf,
    pub format: DiskFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    Raw,
    Qcow2,
    /// A folder of the host, for [`Gvisor`].
    Folder,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceleratorChoice {
    /// KVM when a probe guest ran under it, else emulation.
    #[default]
    Auto,
    Kvm,
    Tcg,
}

/// The agent as an ordinary process of the host, without isolation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub agent: PathBuf,
    /// The folder that stands in for `/workspace`.
    pub workspace: PathBuf,
}

/// What a shim tells the engine that started it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchEvent {
    /// Something worth telling a waiting person, such as a second try.
    Note(String),
    /// How far it has come, where that was asked for.
    Step(Step),
    Ready(Running),
    /// The VM never came up.
    Failed(Fault),
    /// The VM is over. The last event.
    Ended(Ended),
}

/// A VM that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// `qemu`, `gvisor` or `process`.
    pub backend: String,
    /// `kvm`, `tcg`, `systrap` or `none`.
    pub accelerator: String,
    /// Why this accelerator, in one sentence.
    pub accelerator_reason: String,
    /// The VMM's own version, when there is a VMM.
    #[serde(default)]
    pub vmm_version: Option<String>,
    pub agent_version: String,
    pub kernel_release: String,
    /// From the start of the shim to the first answer of the agent.
    pub boot_ms: u64,
    /// How many boots it took; more than one means that a boot was given up.
    pub boot_attempts: u32,
    /// Whether its kernel had to unpack itself, and why if that was in vain. None without a kernel's boot.
    #[serde(default)]
    pub booted_kernel: Option<String>,
    /// Whether it came out of the template. False although there was one: the template is no good.
    #[serde(default)]
    pub resumed: bool,
    /// What stands around its VMM, where that is in a jail.
    #[serde(default)]
    pub walls: Option<Walls>,
}

/// How a VM came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub reason: EndReason,
    /// One line for people.
    pub message: String,
    /// The end of the guest's console, where that explains something.
    #[serde(default)]
    pub console_tail: Vec<String>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Somebody asked for it.
    Stopped,
    /// Its time to live was over.
    Expired,
    /// Nobody used it for as long as was agreed.
    Idle,
    /// The process that it belonged to went away.
    OwnerGone,
    /// The guest powered itself off.
    GuestOff,
    /// The VMM or the agent died.
    Died,
    /// The host had no space left for what the guest wrote to its disk.
    NoSpace,
    /// It used more memory than it may have, and killing processes in it did not help.
    OutOfMemory,
    #[serde(other)]
    Unknown,
}

/// The answer of `pyro shim --probe`: which accelerator this host can use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub accelerator: String,
    pub reason: String,
    pub kvm: KvmState,
    pub vmm_version: Option<String>,
    #[serde(default)]
    pub fault: Option<Fault>,
    /// What stands around QEMU here, or why it does not start in its jail. None without a QEMU.
    #[serde(default)]
    pub jail: Option<Result<Walls, String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvmState {
    pub exists: bool,
    pub readable: bool,
    pub writable: bool,
    /// A probe guest ran to its end; absent when none was tried.
    pub runs_guests: Option<bool>,
}

/// The answer of `pyro shim --probe-sandbox`: whether sandboxes of gVisor run on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxProbe {
    /// A probe sandbox ran to its end.
    pub runs: bool,
    /// In one sentence.
    pub reason: String,
    /// A command or a step that helps, where one is known.
    #[serde(default)]
    pub fix: Option<String>,
    /// That of `runsc`, where it tells one.
    #[serde(default)]
    pub version: Option<String>,
}
