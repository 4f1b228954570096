//! The processes behind a run, by what they do.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_tests::leftovers::{Process, processes};
use pyro_tests::world::eventually;
use pyro_tests::{Backend, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `pyro shim`, which keeps a VM.
    Shim,
    /// QEMU, the agent where commands run on the host, or the first process of a sandbox.
    Machine,
    /// The kernel of a sandbox's guest.
    Sentry,
    /// Who opens the files of a sandbox's guest.
    Gofer,
}

/// The process of this world in that role; waits for it to appear. Children that it is about to
/// turn into something else look the same for an instant, and are younger.
pub(crate) fn find(world: &World, role: Role) -> Pid {
    let mut found = Vec::new();
    eventually("the process appears", Duration::from_secs(60), || {
        found = in_role(world, role);
        !found.is_empty()
    });
    Pid::from_raw(found[0].pid)
}

fn in_role(world: &World, role: Role) -> Vec<Process> {
    let name = match role {
        Role::Sentry => "runsc-sandbox ",
        Role::Gofer => "runsc-gofer ",
        Role::Shim | Role::Machine => "",
    };
    if !name.is_empty() {
        let machines = in_role(world, Role::Machine);
        let mut found: Vec<Process> = machines
            .iter()
            .flat_map(|machine| descendants(machine.pid))
            .collect();
        found.retain(|process| process.command.starts_with(name));
        return found;
    }
    let is = |process: &Process| match (role, world.backend) {
        (Role::Machine, Backend::Gvisor) => process.command.contains(" run --bundle "),
        (Role::Sentry | Role::Gofer, _) => false,
        (Role::Shim, _) => process.command.contains("pyro shim "),
        (Role::Machine, Backend::Vm) => process.command.contains("qemu-system"),
        (Role::Machine, Backend::Process) => process.command.contains(" --process "),
    };
    let mut found = processes(&world.state_dir());
    found.retain(is);
    found.sort_by_key(|process| process.pid);
    found
}

/// All that a process has started, whatever world it lives in.
pub(crate) fn descendants(pid: i32) -> Vec<Process> {
    let children: Vec<i32> = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|pids| {
            let pids = pids.split_whitespace().map(str::parse);
            pids.filter_map(Result::ok).collect::<Vec<i32>>()
        })
        .collect();
    let mut found = Vec::new();
    for pid in children {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        found.push(Process { pid, command });
        found.extend(descendants(pid));
    }
    found
}

pub(crate) fn signal(world: &World, role: Role, signal: Signal) {
    // One that has ended since it was found was not the one that is meant.
    while let Err(error) = kill(find(world, role), signal) {
        assert_eq!(error, Errno::ESRCH, "a signal to a process of the world");
    }
}

/// No process of a VM and no folder of one is left, whatever the engine left of itself.
pub(crate) fn assert_no_vm(world: &World) {
    let folders = || {
        std::fs::read_dir(world.state_dir().join("vms"))
            .into_iter()
            .flatten()
            .count()
    };
    eventually("the VM is gone", super::background_command::AT_ONCE, || {
        processes(&world.state_dir()).is_empty() && folders() == 0
    });
}
