//! All processes of one command, so that they can be ended together.
//!
//! In a guest that is a control group, which nothing leaves by forking, `setsid` or double forks.
//! Elsewhere it is the process group and everything below the command in the process tree; there
//! the command adopts its own orphans, so that they stay below it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::descendants::{self, Seen};
use crate::lock::lock;
use crate::reaper::Reaper;

const TOP: &str = "/sys/fs/cgroup";
const ROOT: &str = "/sys/fs/cgroup/pyro";

/// How deep a command may have nested control groups for us to clear them away.
const DEPTH: usize = 16;

/// Hands out groups and clears away those that have become empty.
#[derive(Default)]
pub(crate) struct Groups {
    /// Set once control groups are mounted.
    root: Mutex<Option<PathBuf>>,
    next: AtomicU64,
    /// Groups of ended commands that were not empty, because a daemon lives on.
    leftover: Mutex<Vec<PathBuf>>,
}

impl Groups {
    /// Uses control groups from now on.
    pub(crate) fn enable(&self) -> io::Result<()> {
        match fs::create_dir(ROOT) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => *lock(&self.root) = Some(ROOT.into()),
        }
        // With `cpu` one command of a thousand processes leaves the agent, and every other command,
        // as much of the processors as it takes itself. With `memory` the kernel tells of which
        // command it killed a process. One that has neither runs commands all the same.
        for controller in ["+cpu", "+memory"] {
            for above in [TOP, ROOT] {
                let _ = fs::write(Path::new(above).join("cgroup.subtree_control"), controller);
            }
        }
        Ok(())
    }

    /// A group for one command, without processes. `None` where there are no control groups, or
    /// where root in the guest has broken them: commands must run all the same.
    pub(crate) fn create(&self) -> Option<Cgroup> {
        self.sweep();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = lock(&self.root).as_ref()?.join(number.to_string());
        fs::create_dir(&path).ok()?;
        let procs = OpenOptions::new()
            .write(true)
            .open(path.join("cgroup.procs"));
        match procs {
            Ok(procs) => Some(Cgroup { path, procs }),
            Err(_) => {
                self.clear_away(path);
                None
            }
        }
    }

    /// Removes a group, now or when it has become empty.
    pub(crate) fn clear_away(&self, path: PathBuf) {
        if !remove(&path, DEPTH) {
            lock(&self.leftover).push(path);
        }
    }

    fn sweep(&self) {
        lock(&self.leftover).retain(|path| !remove(path, DEPTH));
    }
}

/// A control group before its command runs.
pub(crate) struct Cgroup {
    path: PathBuf,
    /// `cgroup.procs`: writing `0` to it moves the writer inside.
    pub(crate) procs: File,
}

impl Cgroup {
    pub(crate) fn into_path(self) -> PathBuf {
        self.path
    }
}

/// What the kernel has counted about the memory of one command, for as long as its group is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryEvents(Option<PathBuf>);

impl MemoryEvents {
    /// Whether the kernel has killed a process of the command because memory ran out. Not known,
    /// and so never claimed, where there are no control groups.
    pub(crate) fn oom_killed(&self) -> bool {
        let Some(path) = &self.0 else { return false };
        fs::read_to_string(path.join("memory.events")).is_ok_and(|events| has_oom_kill(&events))
    }
}

fn has_oom_kill(events: &str) -> bool {
    let mut counts = events.lines().filter_map(|line| line.split_once(' '));
    counts.any(|(name, count)| name == "oom_kill" && count.trim() != "0")
}

/// The processes of a running command. Dropping it kills them all, unless it was released.
pub(crate) struct Group<'a> {
    groups: &'a Groups,
    reaper: Arc<Reaper>,
    leader: i32,
    path: Option<PathBuf>,
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
            path: cgroup.map(Cgroup::into_path),
            seen: Mutex::default(),
            released: false,
        }
    }

    pub(crate) fn memory_events(&self) -> MemoryEvents {
        MemoryEvents(self.path.clone())
    }

    /// Sends a signal to the command's process group.
    pub(crate) fn signal(&self, number: i32) {
        self.reaper.signal_group(self.leader, number);
    }

    /// Asks the command's process group to end, and remembers who has to end with it.
    pub(crate) fn ask_to_end(&self) {
        if self.path.is_none() {
            *lock(&self.seen) = descendants::seen_below(self.leader);
        }
        self.signal(libc::SIGTERM);
        // Stopped processes would not hear it.
        self.signal(libc::SIGCONT);
    }

    /// Kills every process of the command.
    pub(crate) fn kill(&self) {
        let killed = match &self.path {
            Some(path) => fs::write(path.join("cgroup.kill"), "1").is_ok(),
            None => false,
        };
        // Without `cgroup.kill` (or where root in the guest removed it) the tree has to do. The
        // leader is stopped first and killed last, as its end would scatter its descendants.
        if !killed && self.reaper.is_alive(self.leader) {
            self.signal(libc::SIGSTOP);
            descendants::kill_below(self.leader);
        }
        self.signal(libc::SIGKILL);
    }

    /// Whether nothing of the command is left, as far as can be seen.
    pub(crate) fn is_empty(&self) -> bool {
        if let Some(path) = &self.path
            && let Ok(events) = fs::read_to_string(path.join("cgroup.events"))
        {
            return events.lines().any(|line| line == "populated 0");
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
        match &self.path {
            Some(path) if fs::write(path.join("cgroup.kill"), "1").is_ok() => {}
            _ => descendants::kill_all(|| self.rest()),
        }
    }

    /// The processes that are left after the first has ended. Where there are no control groups,
    /// those of its session and those that were seen, which came to us as its orphans.
    fn rest(&self) -> Vec<i32> {
        if let Some(path) = &self.path
            && let Ok(inside) = fs::read_to_string(path.join("cgroup.procs"))
        {
            return inside.lines().filter_map(|pid| pid.parse().ok()).collect();
        }
        let us = std::process::id().cast_signed();
        descendants::left_of(us, self.leader, &lock(&self.seen))
    }

    /// Lets the processes that are left live on.
    pub(crate) fn release(mut self) {
        self.released = true;
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if !self.released {
            self.kill();
        }
        if let Some(path) = self.path.take() {
            self.groups.clear_away(path);
        }
    }
}

/// Removes a control group and those inside it; says whether it is gone.
fn remove(path: &Path, depth: usize) -> bool {
    match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        // Busy, which means processes or nested groups.
        Err(_) if depth > 0 => {
            let Ok(entries) = fs::read_dir(path) else {
                return false;
            };
            let nested: Vec<_> = entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .collect();
            !nested.is_empty()
                && nested.iter().all(|entry| remove(&entry.path(), depth - 1))
                && fs::remove_dir(path).is_ok()
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_groups_go_and_a_missing_one_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("1");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::create_dir(top.join("c")).unwrap();
        assert!(remove(&top, DEPTH));
        assert!(remove(&top, DEPTH));
    }

    #[test]
    fn only_a_kill_for_want_of_memory_is_told_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let events = MemoryEvents(Some(folder.path().to_owned()));
        assert!(!events.oom_killed(), "the kernel counts nothing");
        let file = folder.path().join("memory.events");
        fs::write(
            &file,
            "low 0\nhigh 3\nmax 7\noom 2\noom_kill 0\noom_group_kill 1\n",
        )
        .unwrap();
        assert!(!events.oom_killed());
        fs::write(&file, "low 0\nhigh 0\nmax 0\noom 0\noom_kill 12\n").unwrap();
        assert!(events.oom_killed());
        assert!(!MemoryEvents::default().oom_killed());
    }

    #[test]
    fn a_group_that_is_too_deep_stays() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("1");
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        assert!(!remove(&top, 2));
        assert!(top.exists());
    }
}
