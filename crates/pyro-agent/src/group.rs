//! All processes of one command, so that they can be ended together.
//!
//! In a guest that is a [control group](crate::cgroup). Elsewhere it is the process group and everything below the command in the process tree; there
//! the command adopts its own orphans, so that they stay below it.

use std::sync::{Arc, Mutex};

use crate::cgroup::{Cgroup, Groups, MemoryEvents};
use crate::descendants::{self, Seen};
use crate::lock::lock;
use crate::reaper::Reaper;

/// The processes of a running command. Dropping it kills them all, unless it was released.
pub(crate) struct Group<'a> {
    groups: &'a Groups,
    reaper: Arc<Reaper>,
    leader: i32,
    cgroup: Option<Cgroup>,
    /// What was below the leader when it was asked to end, where there is no control group: its end
    /// scatters them.
    seen: Mutex<Vec<Seen>>,
    released: bool,
}

impl<'a> Group<'a> {
    /// The group that the watched process `leader` was started in.
    pub(crate) fn new(
        groups: &'a Groups,
        reaper: Arc<Reaper>,
        leader: i32,
        cgroup: Option<Cgroup>,
    ) -> Self {
        Self {
            groups,
            reaper,
            leader,
            cgroup,
            seen: Mutex::default(),
            released: false,
        }
    }

    pub(crate) fn memory_events(&self) -> MemoryEvents {
        let counted = self.cgroup.as_ref().map(Cgroup::memory_events);
        counted.unwrap_or_default()
    }

    /// Sends a signal to the command's process group.
    pub(crate) fn signal(&self, number: i32) {
        self.reaper.signal_group(self.leader, number);
    }

    /// Asks the command's process group to end, and remembers who has to end with it.
    pub(crate) fn ask_to_end(&self) {
        if self.cgroup.is_none() {
            *lock(&self.seen) = descendants::seen_below(self.leader);
        }
        self.signal(libc::SIGTERM);
        // Stopped processes would not hear it.
        self.signal(libc::SIGCONT);
    }

    /// Kills every process of the command.
    pub(crate) fn kill(&self) {
        let killed = self.kill_cgroup();
        // Without a control group (or where root in the guest broke it) the tree has to do. The
        // leader is stopped first and killed last, as its end would scatter its descendants.
        if !killed && self.reaper.is_alive(self.leader) {
            self.signal(libc::SIGSTOP);
            descendants::kill_below(self.leader);
        }
        self.signal(libc::SIGKILL);
    }

    fn kill_cgroup(&self) -> bool {
        let leader = self.leader;
        (self.cgroup.as_ref()).is_some_and(|cgroup| cgroup.kill(leader))
    }

    /// Whether nothing of the command is left, as far as can be seen.
    pub(crate) fn is_empty(&self) -> bool {
        if let Some(empty) = self.cgroup.as_ref().and_then(Cgroup::is_empty) {
            return empty;
        }
        !self.reaper.is_alive(self.leader) && self.rest().is_empty()
    }

    /// Sends a signal to what is left of the command after its first process has ended.
    pub(crate) fn signal_rest(&self, number: i32) {
        for pid in self.rest() {
            // SAFETY: `kill` has no memory effects. What ended since is a zombie until its parent
            // collects it, as a rule us, on this thread.
            unsafe { libc::kill(pid, number) };
        }
    }

    /// Kills what is left of the command after its first process has ended.
    pub(crate) fn kill_rest(&self) {
        if !self.kill_cgroup() {
            descendants::kill_all(|| self.rest());
        }
    }

    /// The processes that are left after the first has ended. Where there are no control groups,
    /// those of its session and those that were seen, which came to us as its orphans.
    fn rest(&self) -> Vec<i32> {
        if let Some(inside) = self.cgroup.as_ref().and_then(Cgroup::processes) {
            return inside;
        }
        let us = std::process::id().cast_signed();
        descendants::left_of(us, self.leader, &lock(&self.seen))
    }

    /// Lets the processes that are left live on, once it is dropped.
    pub(crate) fn release(mut self) -> Self {
        self.released = true;
        self
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if !self.released {
            self.kill();
        }
        if let Some(cgroup) = self.cgroup.take() {
            self.groups.clear_away(cgroup);
        }
    }
}
