//! How many processes of the host's a sandbox may be.
//!
//! Each process of a guest is two of the host's, and a host has room for 32768 by default. A guest's
//! agent bounds its commands, but root in the guest can take that away; the host's kernel holds the
//! processes of gVisor to `RLIMIT_NPROC`, which since Linux 5.14 counts in each user namespace apart.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// As the agent has it, `crates/pyro-agent/src/cgroup.rs`.
const TASKS_PER_MIB: u64 = 2;
const FEWEST_TASKS: u64 = 512;
const MOST_TASKS: u64 = 2048;

/// A process that has ended is two of the host's for a little longer. A bomb of short-lived ones was
/// seen to have 1.4 times as many as its guest may.
const PER_TASK: u64 = 4;

/// Threads of gVisor's own, with plenty to spare: a kernel that gets none ends with its guest.
const OWN_TASKS: u64 = 1024;

/// Processes and threads of a sandbox with so much memory.
pub(in super::super) fn most_tasks(mem_mib: u32) -> u64 {
    let guests = (u64::from(mem_mib) * TASKS_PER_MIB).clamp(FEWEST_TASKS, MOST_TASKS);
    PER_TASK * guests + OWN_TASKS
}

/// Limits what this process starts, where that is counted for this sandbox alone.
pub(in super::super) fn limit(mem_mib: u32) -> io::Result<()> {
    if !pyro_namespace::counts_tasks_apart() {
        return Ok(());
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NPROC)?;
    let most = most_tasks(mem_mib).min(hard);
    Ok(setrlimit(Resource::RLIMIT_NPROC, most, most)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_default_settings_has_room_for_three_of_the_largest() {
        assert_eq!(most_tasks(256), 3072);
        assert_eq!(most_tasks(1024), 9216);
        assert!(most_tasks(u32::MAX) * 3 < 32768);
    }
}
