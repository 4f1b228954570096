//! The benchmark's own folder: the state of its VMs, and the files of the root file system.
//!
//! It goes with the benchmark. One that was killed leaves a folder whose lock is free, which the
//! next one removes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use pyro_wire::shim::LIVENESS_LOCK;
use tempfile::TempDir;

const PREFIX: &str = "pyro-bench.";
const LOCK: &str = "lock";

/// A folder this young may not have its lock yet.
const SETTLED: Duration = Duration::from_secs(60);

/// How long interrupted VMs may take to end.
const VMS_END: Duration = Duration::from_secs(15);

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

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.folder.path().join("rootfs")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let vms = self.state_dir().join("vms");
        let started = Instant::now();
        // A shim that was only just started may not have its lock yet.
        while (started.elapsed() < NO_MORE_SHIMS || any_lives(&vms)) && started.elapsed() < VMS_END
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn any_lives(vms: &Path) -> bool {
    fs::read_dir(vms).is_ok_and(|entries| {
        entries
            .filter_map(Result::ok)
            .any(|vm| is_locked(&vm.path().join(LIVENESS_LOCK)))
    })
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
            // What cannot be removed is another user's.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
}
