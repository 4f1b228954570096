//! Keeps one VM alive: starts the VMM, speaks to the agent, serves clients, and leaves nothing
//! behind when the VM is over.
//!
//! Never reads pyro's store: all that a shim knows came in the launch file
//! ([`pyro_wire::launch`]). Never makes a disk layer, never talks to a terminal.
//!
//! | module | subject |
//! |---|---|
//! | `start` | from a process to a shim |
//! | `supervisor` | the state of the VM; the only place that changes it |
//! | `boot` | attempts, deadlines, the one retry |
//! | `backend` | how a machine is made: QEMU, gVisor, or a plain process |
//! | `jail` | the walls around QEMU, the network's process and the shim itself |
//! | `guest` | the session with the agent |
//! | `control`, `bridge` | clients on the control socket |
//! | `handle` | how clients' tasks reach the supervisor and the guest |
//! | `publish` | ports of the host that lead to services in the guest |
//! | `jobs` | commands that go on without their callers |
//! | `services` | what a VM that is stopped leaves of its services |
//! | `events`, `owner` | the engine's pipe, the owner's pipe |
//! | `usage`, `timer` | who uses the VM and for how long nobody has; the time to live |
//! | `template`, `holes` | a template instead of a VM |
//! | `folder`, `liveness` | the VM's folder and the lock in it |

use std::ffi::OsStr;
use std::os::fd::RawFd;
use std::path::Path;
use std::process::ExitCode;

use pyro_wire::launch::{Probe, SandboxProbe};

mod backend;
mod boot;
mod bridge;
mod clock;
mod console;
mod control;
mod descriptor;
mod detach;
mod events;
mod folder;
mod guest;
mod handle;
mod holes;
mod jail;
mod jobs;
mod liveness;
mod lock_file;
mod owner;
mod publish;
mod random;
mod services;
mod start;
mod supervisor;
mod template;
mod timer;
mod usage;

/// This program, even when an update has put another one in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Owns the VM of a folder until it is over; this is `pyro shim <dir>`.
///
/// Takes the whole process: closes every descriptor above the standard three, moves into the
/// folder, leaves the session, and ignores the terminal's signals. Call it first thing on the
/// main thread, because a VMM ends when the thread that started it does.
pub fn run(dir: &Path) -> ExitCode {
    start::run(dir, None)
}

/// As [`run`], with somebody who has taken the shim over once its guest answers: tests look what that may do.
#[doc(hidden)]
pub fn run_by(dir: &Path, taken_over: fn()) -> ExitCode {
    start::run(dir, Some(taken_over))
}

/// Saves a template as the file `spec` says; this is `pyro shim --template SPEC`.
///
/// Takes the whole process, as [`run`] does. Prints [`pyro_wire::template::TemplateBuilt`] or a
/// [`pyro_wire::fault::Fault`] as one line of JSON. Nothing that it started outlives it or the
/// process at the other end of its standard input.
pub fn save_template(spec: &Path) -> ExitCode {
    template::run(spec)
}

/// Which accelerator this host can use; this is `pyro shim --probe`.
///
/// The answer to "does KVM run guests here?" is remembered in the file `cache` until the host is
/// booted again; `fresh` asks anew. Blocks for some seconds at worst.
pub fn probe(binary: &Path, kernel: &Path, initramfs: &Path, cache: &Path, fresh: bool) -> Probe {
    backend::qemu::probe::run(binary, kernel, initramfs, cache, fresh)
}

/// Serves the network of one guest; this is `pyro shim --network PLAN NETWORK`, a child of its VM's shim.
pub fn network(plan: &OsStr, network: &str) -> ExitCode {
    network_by(plan, || pyro_network::run(network))
}

/// As [`network`], with another in the place of what serves the network: tests look what that may do.
#[doc(hidden)]
pub fn network_by(plan: &OsStr, run: impl FnOnce() -> ExitCode) -> ExitCode {
    match jail::enter(plan) {
        Ok(()) => run(),
        Err(code) => code,
    }
}

/// Whether sandboxes of gVisor run on this host; this is `pyro shim --probe-sandbox`.
///
/// The answer is remembered in the file `cache` as that of [`probe`] is. Blocks for some seconds at
/// worst.
pub fn probe_sandbox(runsc: &Path, agent: &Path, cache: &Path, fresh: bool) -> SandboxProbe {
    backend::gvisor::probe::run(runsc, agent, cache, fresh)
}

/// Becomes, by a child, the agent beside a sandbox that runs; this is `pyro shim --files SANDBOX MEM_MIB`, a
/// child of the VM's shim, with a pidfd of the sandbox's first process.
pub fn join_files(sandbox: RawFd, mem_mib: u32) -> ExitCode {
    backend::gvisor::join::run(sandbox, mem_mib)
}

/// Becomes the runsc of a sandbox; this is `pyro shim --sandbox PLAN`, a child of its VM's shim and
/// the first process of the namespaces that the shim makes for it.
pub fn sandbox(plan: &OsStr) -> ExitCode {
    backend::gvisor::sandbox::run(plan)
}

/// Becomes a program in its jail; this is `pyro shim --jail PLAN PROGRAM ARGUMENT…`, a child of a VM's shim,
/// in the namespaces that the shim makes for it.
pub fn jail(plan: &OsStr, program: &OsStr, arguments: &[&OsStr]) -> ExitCode {
    jail::run(plan, program, arguments)
}
