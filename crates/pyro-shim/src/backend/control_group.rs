//! The kernel's own limits, in a control group of version 2, where the user may make one.
//!
//! systemd gives each user a branch of the tree (`user@UID.service`), in which that user's programs
//! may make groups. Which controllers there are to use is up to the folders above:
//!
//! ```text
//! own group, then the ones above it, as long as they are the user's:
//!   make pyro-PID ─▶ it has memory.max and pids.max?  use it
//!                    not: switch them on for this folder, which the kernel allows where no process
//!                    is in it; still not: remove it, go on above
//! ```
//!
//! With version 1, or as root in a container that may only read, there is none. Then the guard alone is what
//! limits a sandbox, and nothing but its own limits does that to QEMU.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

const MOUNTED_AT: &str = "/sys/fs/cgroup";

/// Begins the names of our groups, and of those of an older pyro.
const PREFIX: &str = "pyro-guest-";
const OLDER_PREFIX: &str = "pyro-sandbox-";

const NO_VERSION_2: &str = "this host has no control groups of version 2";
const NO_BRANCH: &str = "this user may make no control group with memory and processes in it, as under systemd's user manager";

/// An empty group of this age belongs to nobody: whoever makes one fills it at once.
const DEBRIS_AGE: Duration = Duration::from_secs(60);

/// More than the kernel says in `memory.events`.
const EVENTS_BYTES: usize = 4096;

/// The period of `cpu.max`.
const PERIOD_US: u64 = 100_000;

/// What the kernel is to hold a VMM or a sandbox to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) memory: u64,
    pub(crate) tasks: u64,
    pub(crate) processors: u32,
}

/// A group of our own. Removes it when it is dropped, if nobody is in it any more.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    path: PathBuf,
    /// `memory.events`. The shim of a VM has walls of its own by the time it is read, and opens it no more.
    events: Option<File>,
}

impl ControlGroup {
    /// Makes one with these limits. The words say why the user may not.
    pub(crate) fn make(limits: &Limits) -> Result<Self, &'static str> {
        let mounted = Path::new(MOUNTED_AT);
        let kind = statfs(mounted).map(|mounted| mounted.filesystem_type());
        if kind != Ok(CGROUP2_SUPER_MAGIC) {
            return Err(NO_VERSION_2);
        }
        let of_us = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own_path(&of_us).ok_or(NO_VERSION_2)?;
        Self::make_below(mounted, own, limits).ok_or(NO_BRANCH)
    }

    fn make_below(mounted: &Path, own: &str, limits: &Limits) -> Option<Self> {
        let own = mounted.join(own.trim_start_matches('/'));
        // Not in the root itself, which is the whole host's, or a container's.
        let above = own.ancestors().take_while(|folder| *folder != mounted);
        above
            .into_iter()
            .find_map(|folder| Self::make_in(folder, limits).ok())
    }

    fn make_in(folder: &Path, limits: &Limits) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep(folder);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        let mut group = Self { path, events: None };
        if !group.has_controllers() {
            let _ = write(&folder.join("cgroup.subtree_control"), "+memory +pids");
        }
        if !group.has_controllers() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // A wish: it may be missing, and both keep to their processors all the same.
        let _ = write(&folder.join("cgroup.subtree_control"), "+cpu");
        group.set(limits)?;
        // Whoever may make a group may not always fill it.
        group.entrance()?;
        group.listen();
        Ok(group)
    }

    fn has_controllers(&self) -> bool {
        let there = |name: &str| self.path.join(name).exists();
        there("memory.max") && there("pids.max")
    }

    fn set(&self, limits: &Limits) -> io::Result<()> {
        let set = |name: &str, value: String| write(&self.path.join(name), &value);
        set("memory.max", limits.memory.to_string())?;
        set("pids.max", limits.tasks.to_string())?;
        // Swapped out it would be the host's disk that suffers; a host without swap has no such file.
        let _ = set("memory.swap.max", "0".into());
        // A kernel that is killed in parts is of no use.
        let _ = set("memory.oom.group", "1".into());
        let quota = u64::from(limits.processors).saturating_mul(PERIOD_US);
        let _ = set("cpu.max", format!("{quota} {PERIOD_US}"));
        Ok(())
    }

    /// Before walls. Where there is no such file nothing is told.
    fn listen(&mut self) {
        self.events = File::open(self.path.join("memory.events")).ok();
    }

    /// The folder that it is removed from.
    pub(crate) fn parent(&self) -> Option<&Path> {
        self.path.parent()
    }

    /// Moves the calling process in, by an [`ControlGroup::entrance`] that it was given.
    pub(crate) fn enter(entrance: OwnedFd) -> io::Result<()> {
        io::Write::write_all(&mut File::from(entrance), b"0")
    }

    /// What a process writes `0` to that wants to go inside.
    pub(crate) fn entrance(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(self.path.join("cgroup.procs"))
    }

    /// Whether somebody is in it.
    pub(crate) fn is_entered(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.procs")).is_ok_and(|inside| !inside.is_empty())
    }

    /// Whether the kernel has killed somebody in it for want of memory.
    pub(crate) fn oom_killed(&self) -> bool {
        let mut said = [0; EVENTS_BYTES];
        let read = |events: &File| events.read_at(&mut said, 0).unwrap_or(0);
        let length = self.events.as_ref().map_or(0, read);
        let events = String::from_utf8_lossy(&said[..length]);
        let mut counts = events.lines().filter_map(|line| line.split_once(' '));
        counts.any(|(name, count)| name == "oom_kill" && count.trim() != "0")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // With somebody still in it, it is left to whoever comes next.
        let _ = fs::remove_dir(&self.path);
    }
}

/// The path of the own group in version 2: `0::/user.slice/…`.
fn own_path(cgroups: &str) -> Option<&str> {
    cgroups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Only to what is there: a folder that is no control group gets no files.
fn write(file: &Path, value: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(file)?;
    io::Write::write_all(&mut file, value.as_bytes())
}

/// Removes what killed shims have left.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = [PREFIX, OLDER_PREFIX]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        let age = |made: SystemTime| made.elapsed().unwrap_or_default();
        let made = entry.metadata().and_then(|metadata| metadata.modified());
        if is_ours && made.is_ok_and(|made| age(made) > DEBRIS_AGE) {
            // The kernel refuses where somebody is in it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
impl ControlGroup {
    /// A plain folder in the place of a group, of which the kernel has said this.
    pub(crate) fn pretended(path: &Path, events: &str) -> Self {
        fs::create_dir(path).unwrap();
        let file = path.join("memory.events");
        fs::write(&file, events).unwrap();
        let mut group = Self {
            path: path.to_owned(),
            events: None,
        };
        group.listen();
        // A control group can be removed with its files, and a folder cannot.
        fs::remove_file(file).unwrap();
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory: 1 << 30,
        tasks: 100,
        processors: 2,
    };

    #[test]
    fn the_own_group_is_the_one_of_version_two() {
        assert_eq!(own_path("0::/user.slice/a b\n"), Some("/user.slice/a b"));
        let hybrid = "4:memory:/x\n1:name=systemd:/y\n0::/init.scope\n";
        assert_eq!(own_path(hybrid), Some("/init.scope"));
        assert_eq!(own_path("4:memory:/x\n"), None);
    }

    /// A folder in which a new folder has no files is what a kernel without controllers shows.
    #[test]
    fn where_there_are_no_controllers_nothing_is_left() {
        let mounted = tempfile::tempdir().unwrap();
        fs::create_dir_all(mounted.path().join("user/app")).unwrap();
        assert!(ControlGroup::make_below(mounted.path(), "/user/app", &LIMITS).is_none());
        let left = |folder: &str| fs::read_dir(mounted.path().join(folder)).unwrap().count();
        assert_eq!((left(""), left("user"), left("user/app")), (1, 1, 0));
    }

    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("group");
        fs::create_dir(&path).unwrap();
        for file in [
            "memory.max",
            "memory.swap.max",
            "pids.max",
            "cpu.max",
            "cgroup.procs",
        ] {
            fs::write(path.join(file), "").unwrap();
        }
        let mut group = ControlGroup {
            path: path.clone(),
            events: None,
        };
        assert!(group.has_controllers());
        group.set(&LIMITS).unwrap();
        let said = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!(said("memory.max"), "1073741824");
        assert_eq!(said("memory.swap.max"), "0");
        assert_eq!(said("pids.max"), "100");
        assert_eq!(said("cpu.max"), "200000 100000");
        // What the kernel does not have is not made.
        assert!(!path.join("memory.oom.group").exists());
        ControlGroup::enter(group.entrance().unwrap().into()).unwrap();
        assert_eq!(said("cgroup.procs"), "0");
        assert!(group.is_entered());
        // Where the kernel does not say it.
        group.listen();
        assert!(!group.oom_killed());
        fs::write(path.join("memory.events"), "oom 0\noom_kill 0\n").unwrap();
        group.listen();
        assert!(!group.oom_killed());
        fs::write(path.join("memory.events"), "oom 1\noom_kill 2\n").unwrap();
        assert!(group.oom_killed());
        assert!(
            group.oom_killed(),
            "it is read from its beginning each time"
        );
    }

    #[test]
    fn what_killed_shims_left_goes_and_what_is_new_stays() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (old, new) = (make("pyro-sandbox-1-0"), make("pyro-guest-2-0"));
        let others = make("session-3.scope");
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        for path in [&old, &others] {
            File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(folder.path());
        assert_eq!(
            (old.exists(), new.exists(), others.exists()),
            (false, true, true)
        );
    }
}
