//! Control groups: one for each command, which nothing leaves by forking, `setsid` or double forks.
//!
//! ```text
//! the kernel of a guest   version 2: kills a group at once, and tells when it is empty
//! a gVisor sandbox        version 1, the controller `pids`: a group that may not fork any more is
//!                         killed process by process
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::descendants;
use crate::lock::lock;

const TOP: &str = "/sys/fs/cgroup";
const ROOT: &str = "/sys/fs/cgroup/pyro";

/// Where the controller `pids` is mounted in a sandbox.
pub(crate) const PIDS: &str = "/sys/fs/cgroup/pids";
const PIDS_ROOT: &str = "/sys/fs/cgroup/pids/pyro";

/// As many processes and threads may one command of a sandbox have, by the sandbox's memory. In a virtual
/// machine the kernel sees to a bound for all; here each process is two of the host's too, which take
/// some memory beside the guest's own, and gVisor counts those of a group only, not those of the groups
/// in it.
const TASKS_PER_MIB: u64 = 2;
const FEWEST_TASKS: u64 = 512;
const MOST_TASKS: u64 = 2048;

/// A group with so many processes, or more, cannot fork. gVisor takes 0 for no limit.
const NO_MORE: &str = "1";

/// How deep a command may have nested control groups for us to clear them away.
const DEPTH: usize = 16;

/// Hands out groups and clears away those that have become empty.
#[derive(Default)]
pub(crate) struct Groups {
    /// Set once control groups are mounted.
    root: Mutex<Option<Cgroup>>,
    next: AtomicU64,
    /// For the next command, made while nobody waits for it.
    ready: Mutex<Option<Fresh>>,
    /// How many processes each command of a sandbox may have, once that was asked.
    most_tasks: OnceLock<String>,
    /// Groups of ended commands that were not empty, because a daemon lives on.
    leftover: Mutex<Vec<PathBuf>>,
    /// Where it is noted for running commands that we killed a process of theirs, by the numbers of
    /// their groups. Only where the kernel counts nothing itself.
    kills: Mutex<Vec<(u64, Weak<AtomicBool>)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// Of a guest's kernel.
    Two,
    /// Of a sandbox, with `pids`.
    OneWithPids,
}

impl Groups {
    /// Uses control groups of version 2 from now on.
    pub(crate) fn enable(&self) -> io::Result<()> {
        self.use_root(ROOT, Version::Two)?;
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

    /// Uses what is mounted at [`PIDS`] from now on.
    pub(crate) fn enable_pids(&self) -> io::Result<()> {
        self.use_root(PIDS_ROOT, Version::OneWithPids)
    }

    fn use_root(&self, root: &str, version: Version) -> io::Result<()> {
        match fs::create_dir(root) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = root.into();
        *lock(&self.root) = Some(Cgroup {
            path,
            version,
            oom_killed: Arc::default(),
        });
        Ok(())
    }

    /// Notes that a process is killed because memory ran out, for the command that it is of.
    pub(crate) fn count_kill(&self, pid: i32) {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let Some(number) = number_in(&groups) else {
            return;
        };
        for (of, killed) in lock(&self.kills).iter() {
            if *of == number
                && let Some(killed) = killed.upgrade()
            {
                killed.store(true, Ordering::Relaxed);
            }
        }
    }

    /// A group for one command, without processes: the one that was made [ahead](Self::create_ahead),
    /// or a new one.
    pub(crate) fn take(&self) -> Option<Fresh> {
        let ready = lock(&self.ready).take();
        ready.or_else(|| self.create())
    }

    /// Makes the next group now, when nobody waits for it, and clears away what has become empty.
    pub(crate) fn create_ahead(&self) {
        let mut ready = lock(&self.ready);
        if ready.is_none() {
            *ready = self.create();
        }
    }

    /// A new group. `None` where there are no control groups, or where root in the guest has broken
    /// them: commands must run all the same.
    pub(crate) fn create(&self) -> Option<Fresh> {
        self.sweep();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let root = lock(&self.root).clone()?;
        let path = root.path.join(number.to_string());
        fs::create_dir(&path).ok()?;
        let procs = OpenOptions::new()
            .write(true)
            .open(path.join("cgroup.procs"));
        match procs {
            Ok(procs) => {
                let cgroup = Cgroup {
                    path,
                    version: root.version,
                    oom_killed: Arc::default(),
                };
                if root.version == Version::OneWithPids {
                    let _ = fs::write(cgroup.path.join("pids.max"), self.most_tasks());
                    let mut kills = lock(&self.kills);
                    kills.retain(|(_, killed)| killed.strong_count() > 0);
                    kills.push((number, Arc::downgrade(&cgroup.oom_killed)));
                }
                Some(Fresh { cgroup, procs })
            }
            Err(_) => {
                self.clear_away_path(path);
                None
            }
        }
    }

    fn most_tasks(&self) -> &str {
        self.most_tasks.get_or_init(|| {
            let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
            most_tasks(&meminfo).to_string()
        })
    }

    /// Removes a group, now or when it has become empty.
    pub(crate) fn clear_away(&self, cgroup: Cgroup) {
        self.clear_away_path(cgroup.path);
    }

    fn clear_away_path(&self, path: PathBuf) {
        if !remove(&path, DEPTH) {
            lock(&self.leftover).push(path);
        }
    }

    fn sweep(&self) {
        lock(&self.leftover).retain(|path| !remove(path, DEPTH));
    }
}

/// A control group before its command runs.
pub(crate) struct Fresh {
    pub(crate) cgroup: Cgroup,
    /// `cgroup.procs`: writing `0` to it moves the writer inside.
    pub(crate) procs: File,
}

/// The control group of a command.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    version: Version,
    /// Whether we have killed a process of it for want of memory.
    oom_killed: Arc<AtomicBool>,
}

impl Cgroup {
    pub(crate) fn memory_events(&self) -> MemoryEvents {
        MemoryEvents {
            path: Some(self.path.clone()),
            oom_killed: Arc::clone(&self.oom_killed),
        }
    }

    /// Kills all that is in it, which `leader` has begun. `false` where the kernel does not, or root in the guest has seen to
    /// it that it does not.
    pub(crate) fn kill(&self, leader: i32) -> bool {
        match self.version {
            Version::Two => fs::write(self.path.join("cgroup.kill"), "1").is_ok(),
            Version::OneWithPids => {
                if fs::write(self.path.join("pids.max"), NO_MORE).is_err() {
                    return false;
                }
                descendants::kill_all(|| {
                    let left = processes_below(&self.path, DEPTH);
                    if !kill_process_group(leader, &left) {
                        return left;
                    }
                    processes_below(&self.path, DEPTH)
                });
                true
            }
        }
    }

    /// Whether nothing is left in it, where that can be seen.
    pub(crate) fn is_empty(&self) -> Option<bool> {
        match self.version {
            Version::Two => {
                let events = fs::read_to_string(self.path.join("cgroup.events")).ok()?;
                Some(events.lines().any(|line| line == "populated 0"))
            }
            Version::OneWithPids => {
                processes_in(&self.path)?;
                Some(processes_below(&self.path, DEPTH).is_empty())
            }
        }
    }

    /// The processes in it, where they can be seen.
    pub(crate) fn processes(&self) -> Option<Vec<i32>> {
        processes_in(&self.path)
    }
}

/// Kills the process group of a command in one call, where one of these is in it: among hundreds that
/// want the processor each call of ours waits for its turn.
fn kill_process_group(leader: i32, inside: &[i32]) -> bool {
    // SAFETY: plain system calls. No other group has this id as long as a process is in this one.
    unsafe {
        inside.iter().any(|pid| libc::getpgid(*pid) == leader)
            && libc::kill(-leader, libc::SIGKILL) == 0
    }
}

fn processes_in(path: &Path) -> Option<Vec<i32>> {
    let inside = fs::read_to_string(path.join("cgroup.procs")).ok()?;
    Some(inside.lines().filter_map(|pid| pid.parse().ok()).collect())
}

/// With those of the groups that the command has made in it.
fn processes_below(path: &Path, depth: usize) -> Vec<i32> {
    let mut all = processes_in(path).unwrap_or_default();
    if depth > 0 {
        for folder in folders_in(path) {
            all.extend(processes_below(&folder, depth - 1));
        }
    }
    all
}

fn folders_in(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// As many as a sandbox with so much memory may have.
fn most_tasks(meminfo: &str) -> u64 {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    match kib {
        Some(kib) => (kib / 1024 * TASKS_PER_MIB).clamp(FEWEST_TASKS, MOST_TASKS),
        None => MOST_TASKS,
    }
}

/// Of which command a process is, by what `/proc` says of its control groups: `7:pids:/pyro/12`, or
/// below that, where the command has made groups.
fn number_in(groups: &str) -> Option<u64> {
    let mut paths = groups.lines().filter_map(|line| line.split_once(":pids:"));
    let (_, path) = paths.next()?;
    let below = path.strip_prefix("/pyro/")?;
    below.split('/').next()?.parse().ok()
}

/// What is known about the memory of one command: by the kernel, for as long as its group is there,
/// and by us, who kill where the kernel does not.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryEvents {
    path: Option<PathBuf>,
    oom_killed: Arc<AtomicBool>,
}

impl MemoryEvents {
    /// Whether a process of the command was killed because memory ran out. Not known, and so never
    /// claimed, where there are no control groups.
    pub(crate) fn oom_killed(&self) -> bool {
        if self.oom_killed.load(Ordering::Relaxed) {
            return true;
        }
        let Some(path) = &self.path else { return false };
        fs::read_to_string(path.join("memory.events")).is_ok_and(|events| has_oom_kill(&events))
    }
}

fn has_oom_kill(events: &str) -> bool {
    let mut counts = events.lines().filter_map(|line| line.split_once(' '));
    counts.any(|(name, count)| name == "oom_kill" && count.trim() != "0")
}

/// Removes a control group and those inside it; says whether it is gone.
fn remove(path: &Path, depth: usize) -> bool {
    match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        // Busy, which means processes or nested groups.
        Err(_) if depth > 0 => {
            let nested = folders_in(path);
            !nested.is_empty()
                && nested.iter().all(|folder| remove(folder, depth - 1))
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
        let events = MemoryEvents {
            path: Some(folder.path().to_owned()),
            ..MemoryEvents::default()
        };
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
    fn a_sandbox_has_tasks_by_its_memory() {
        let of = |mib: u64| {
            most_tasks(&format!(
                "MemTotal:       {:8} kB\nMemFree: 1 kB\n",
                mib << 10
            ))
        };
        assert_eq!(
            [of(64), of(512), of(1024), of(1 << 20)],
            [512, 1024, 2048, 2048]
        );
        assert_eq!(most_tasks(""), 2048);
    }

    #[test]
    fn a_process_is_of_the_command_whose_group_it_is_in() {
        assert_eq!(number_in("7:pids:/pyro/12\n6:memory:/\n"), Some(12));
        assert_eq!(
            number_in("6:memory:/pyro/3\n7:pids:/pyro/12/own/3\n"),
            Some(12)
        );
        for other in [
            "",
            "7:pids:/\n",
            "7:pids:/pyro\n",
            "7:pids:/pyro/x\n",
            "0::/pyro/3\n",
        ] {
            assert_eq!(number_in(other), None, "{other}");
        }
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
