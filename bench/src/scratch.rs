//! The benchmark's own folder: the state of its VMs, the files of the root file system, and the
//! seeds of its workspaces.
//!
//! It goes with the benchmark. One that was killed leaves a folder whose lock is free, which the
//! next one removes. One-shot VMs end with the processes that own them; those of workspaces stay
//! until they are told to end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use pyro_wire::shim::{LIVENESS_LOCK, ShimRequest, Stop};
use tempfile::TempDir;
use tokio::time::timeout;

use super::shim;

const PREFIX: &str = "pyro-bench.";
const LOCK: &str = "lock";

/// A folder this young may not have its lock yet.
const SETTLED: Duration = Duration::from_secs(60);

/// How long interrupted VMs may take to end.
const VMS_END: Duration = Duration::from_secs(15);

/// How long one of them may take to answer that it has ended.
const STOPPING: Duration = Duration::from_secs(5);

/// After this no shim of an interrupted command begins any more.
const NO_MORE_SHIMS: Duration = Duration::from_millis(300);

pub(crate) struct Scratch {
    folder: TempDir,
    _lock: Flock<File>,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        // The root file system is large, and /tmp is memory on many machines.
        let base = std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from);
        sweep(&base);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&base)
            .with_context(|| format!("making a folder in {}", base.display()))?;
        let file = File::create(folder.path().join(LOCK))?;
        let lock =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        state_dir(self.folder.path())
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.folder.path().join("rootfs")
    }

    /// The files of the environment that has a compiler.
    pub(crate) fn build_rootfs(&self) -> PathBuf {
        self.folder.path().join("build-rootfs")
    }

    /// Files of about the size of a project.
    pub(crate) fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// Very many files, in git.
    pub(crate) fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Few files, and very large ones.
    pub(crate) fn large(&self) -> PathBuf {
        self.folder.path().join("large")
    }

    /// For copies that rows make and remove.
    pub(crate) fn copy(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    /// The test suite of a package.
    pub(crate) fn suite(&self) -> PathBuf {
        self.folder.path().join("suite")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        end_vms(&state_dir(self.folder.path()));
    }
}

fn state_dir(folder: &Path) -> PathBuf {
    folder.join("state")
}

/// Waits for one-shot VMs, and ends those of workspaces, which nobody needs any more.
fn end_vms(state_dir: &Path) {
    let started = Instant::now();
    loop {
        let staying = living(
            folders_in(&state_dir.join("workspaces"))
                .iter()
                .flat_map(|workspace| folders_in(workspace)),
        );
        for vm in &staying {
            // One that cannot be told yet is told the next time.
            let _ = stop(vm);
        }
        let ended =
            staying.is_empty() && living(folders_in(&state_dir.join("vms")).into_iter()).is_empty();
        // A shim that was only just started may not have its lock yet.
        if started.elapsed() > VMS_END || (ended && started.elapsed() > NO_MORE_SHIMS) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Pulls the plug: its disk is thrown away.
fn stop(vm: &Path) -> Result<()> {
    let stop = ShimRequest::Stop(Stop {
        grace_ms: 0,
        remove: false,
        at_once: false,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async { timeout(STOPPING, shim::ask(vm, &stop)).await })??;
    Ok(())
}

fn living(vms: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    vms.filter(|vm| is_locked(&vm.join(LIVENESS_LOCK)))
        .collect()
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let settled = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > SETTLED));
        if ours && settled && !is_locked(&entry.path().join(LOCK)) {
            end_vms(&state_dir(&entry.path()));
            // What cannot be removed is another user's.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
}
