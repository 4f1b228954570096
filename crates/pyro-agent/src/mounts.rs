//! What is mounted where, before and after the root disk is there.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use tokio::time::{Instant, sleep};

use crate::cgroup;

const TEMPORARY: &str = "/tmp";
const ROOT_DEVICE: &str = "/dev/vda";
const NEW_ROOT: &str = "/newroot";

/// How long the root disk may take to appear; a hot-plugged one needs a moment.
const ROOT_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub(crate) struct MountError {
    step: String,
    source: io::Error,
}

impl MountError {
    fn new(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            step: step.into(),
            source: source.into(),
        }
    }
}

struct Mount {
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    data: &'static str,
}

const fn entry(
    kind: &'static str,
    target: &'static str,
    flags: MsFlags,
    data: &'static str,
) -> Mount {
    Mount {
        source: kind,
        target,
        kind,
        flags,
        data,
    }
}

const INERT: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);
const NO_DEVICES: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const NO_PROGRAMS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);

/// Needed to find the port and the disk.
const BASIC: [Mount; 3] = [
    entry("proc", "/proc", INERT, ""),
    entry("sysfs", "/sys", INERT, ""),
    entry("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=755"),
];

/// What programs expect inside these. It needs no root disk, so it is done while waiting for one.
const INSIDE_BASIC: [Mount; 2] = [
    entry(
        "devpts",
        "/dev/pts",
        NO_PROGRAMS,
        "gid=5,mode=620,ptmxmode=666",
    ),
    entry("tmpfs", "/dev/shm", NO_DEVICES, "mode=1777"),
];

/// The only one on the root disk itself: `/tmp` stays there, as it may be large.
const RUN: Mount = entry("tmpfs", "/run", NO_DEVICES, "mode=755");

/// Without `favordynmods` each process that is put into a control group waits for an RCU grace
/// period, which every command would pay. Kernels before 6.0 do not know the option.
const CGROUPS: [Mount; 2] = [
    entry(
        "cgroup2",
        "/sys/fs/cgroup",
        INERT,
        "nsdelegate,favordynmods",
    ),
    entry("cgroup2", "/sys/fs/cgroup", INERT, "nsdelegate"),
];

/// gVisor has version 1 only, in which each controller has a folder.
const SANDBOX_GROUPS: [Mount; 2] = [
    entry("tmpfs", "/sys/fs/cgroup", INERT, "mode=755"),
    entry("cgroup", cgroup::PIDS, INERT, "pids"),
];

/// What devtmpfs does not bring.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

const MESSAGE_QUEUES: Mount = entry("mqueue", "/dev/mqueue", INERT, "");

/// Mounts what the initramfs needs.
pub(crate) fn basic() -> Result<(), MountError> {
    BASIC.iter().try_for_each(Mount::mount)
}

/// Mounts what commands need and no disk holds.
pub(crate) fn inside_basic() -> Result<(), MountError> {
    for mount in &INSIDE_BASIC {
        make_folder(Path::new(mount.target), 0o755)?;
        mount.mount()?;
    }
    let [modern, old] = &CGROUPS;
    modern.mount().or_else(|_| old.mount())?;
    // Few programs miss these, and not every kernel has them.
    let _ =
        make_folder(Path::new(MESSAGE_QUEUES.target), 0o755).and_then(|()| MESSAGE_QUEUES.mount());
    for (link, target) in LINKS {
        match symlink(target, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(MountError::new(format!("link {link}"), error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Mounts what lets a sandbox put the processes of a command into a group.
pub(crate) fn process_groups() -> Result<(), MountError> {
    let [folder, pids] = &SANDBOX_GROUPS;
    folder.mount()?;
    make_folder(Path::new(pids.target), 0o755)?;
    pids.mount()
}

/// Takes away the file system in memory that gVisor mounts on an empty `/tmp`, of which its
/// configuration says nothing: what is put there may be large, and is expected again after a stop.
pub(crate) fn keep_temporary_files() {
    let in_memory =
        |path: &str| statfs(path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC);
    if !in_memory("/") && in_memory(TEMPORARY) {
        // Where it cannot be taken away it serves all the same.
        let _ = umount2(TEMPORARY, MntFlags::MNT_DETACH);
    }
}

/// Waits for the root disk.
pub(crate) async fn await_root_device() -> Result<(), MountError> {
    let deadline = Instant::now() + ROOT_DEADLINE;
    while let Err(source) = fs::metadata(ROOT_DEVICE) {
        if Instant::now() > deadline {
            return Err(MountError::new(format!("find {ROOT_DEVICE}"), source));
        }
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Mounts the root disk and makes it the root of everything.
pub(crate) fn switch_root() -> Result<(), MountError> {
    make_folder(Path::new(NEW_ROOT), 0o755)?;
    mount(
        Some(ROOT_DEVICE),
        NEW_ROOT,
        Some("ext4"),
        // With lazy times, writing to a block that is there already needs no transaction.
        MsFlags::MS_NOATIME | MsFlags::MS_LAZYTIME,
        // What is deleted gives its space back to the host, also below a snapshot.
        Some("discard"),
    )
    .map_err(|source| MountError::new(format!("mount {ROOT_DEVICE}"), source))?;
    enter(NEW_ROOT)?;
    for moved in &BASIC {
        let inside = moved.target.trim_start_matches('/');
        make_folder(Path::new(inside), 0o755)?;
        move_mount(moved.target, inside)?;
    }
    move_mount(".", "/")?;
    nix::unistd::chroot(".").map_err(|source| MountError::new("change the root", source))?;
    enter("/")?;
    make_folder(Path::new(RUN.target), 0o755)?;
    RUN.mount()
}

/// Creates a folder unless something is there already.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<(), MountError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(MountError::new(format!("create {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

impl Mount {
    fn mount(&self) -> Result<(), MountError> {
        match mount(
            Some(self.source),
            self.target,
            Some(self.kind),
            self.flags,
            Some(self.data),
        ) {
            // A kernel may mount `/dev` by itself.
            Ok(()) | Err(Errno::EBUSY) => Ok(()),
            Err(source) => Err(MountError::new(format!("mount {}", self.target), source)),
        }
    }
}

fn move_mount(from: &str, to: &str) -> Result<(), MountError> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .map_err(|source| MountError::new(format!("move {from} to {to}"), source))
}

fn enter(folder: &str) -> Result<(), MountError> {
    nix::unistd::chdir(folder).map_err(|source| MountError::new(format!("enter {folder}"), source))
}
