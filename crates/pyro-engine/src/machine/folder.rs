//! A VM's folder: where it is, and whether its VM lives.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use pyro_wire::launch::LAUNCH_FILE;
use pyro_wire::shim::LIVENESS_LOCK;

use crate::gvisor;

/// The folder of one VM. The shim and the VMM write in it while the VM lives, the engine before
/// and after.
#[derive(Clone, Debug)]
pub(crate) struct VmFolder(PathBuf);

impl VmFolder {
    pub(crate) fn of(state_dir: &Path, vm_id: &str) -> Self {
        Self(all(state_dir).join(vm_id))
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Every VM folder there is, with the VM's id.
    pub(crate) fn list(state_dir: &Path) -> io::Result<Vec<(String, Self)>> {
        let entries = match fs::read_dir(all(state_dir)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(entries
            .filter_map(Result::ok)
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, Self(entry.path()))))
            .collect())
    }

    pub(crate) fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether a shim or a VMM still holds the folder.
    pub(crate) fn is_alive(&self) -> bool {
        let Ok(file) = File::open(self.join(LIVENESS_LOCK)) else {
            return false;
        };
        Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
    }

    /// Whether a shim was ever started on it, and so a guest may have written to its disk.
    pub(crate) fn was_launched(&self) -> bool {
        self.join(LAUNCH_FILE).exists()
    }

    /// Removes the folder; one that is gone already is fine.
    pub(crate) fn remove(&self) -> io::Result<()> {
        gvisor::remove_layer(&self.0);
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

fn all(state_dir: &Path) -> PathBuf {
    state_dir.join("vms")
}
