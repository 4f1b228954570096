//! The mark of a living engine on its one-shot VMs: a lock that ends with the process.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use pyro_api::Error;

use super::age;
use crate::error::state_unusable;
use crate::private_file;
use crate::random::random_hex;

/// How a mark begins that is not locked yet.
const NEW: &str = ".new-";

/// How long an engine may take to lock its mark and to name it.
const NAMING: Duration = Duration::from_secs(10);

pub(crate) struct Owner {
    id: String,
    path: PathBuf,
    lock: Flock<File>,
}

impl Owner {
    pub(crate) fn register(state_dir: &Path) -> Result<Self, Error> {
        let folder = folder(state_dir);
        let register = || -> io::Result<Self> {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)?;
            let id = random_hex(16)?;
            let path = folder.join(&id);
            // Locked before it has its name, so that nobody ever takes it for a dead one's.
            let unnamed = folder.join(format!("{NEW}{id}"));
            let lock = private_file::create_locked(&unnamed)?;
            fs::rename(&unnamed, &path)?;
            Ok(Self { id, path, lock })
        };
        register().map_err(|error| state_unusable(state_dir, &error))
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Gives up a forked child's copy of the lock, so that the parent's end frees it.
    pub(crate) fn release_after_fork(&self) {
        let _ = nix::unistd::close(self.lock.as_raw_fd());
    }

    /// Whether the engine with this mark still lives.
    pub(crate) fn lives(state_dir: &Path, id: &str) -> bool {
        is_locked(&folder(state_dir).join(id))
    }

    /// Removes the marks of engines that were killed.
    pub(crate) fn forget_dead(state_dir: &Path) {
        let Ok(entries) = fs::read_dir(folder(state_dir)) else {
            return;
        };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let is_new = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(NEW));
            // One without its name may not be locked yet.
            let settled = || age(&path).is_ok_and(|age| age > NAMING);
            if (!is_new || settled()) && !is_locked(&path) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("owners")
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn marks_of_the_dead_go_whatever_the_clock_does() {
        let state = tempfile::tempdir().unwrap();
        let living = Owner::register(state.path()).unwrap();
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        let times = [now, now + NAMING / 2, now - day, now + day];
        let unnamed = times.map(|time| {
            let path = folder(state.path()).join(format!("{NEW}{}", random_hex(16).unwrap()));
            File::create(&path).unwrap().set_modified(time).unwrap();
            path
        });
        Owner::forget_dead(state.path());
        assert_eq!(
            unnamed.map(|path| path.exists()),
            [true, true, false, false]
        );
        assert!(Owner::lives(state.path(), living.id()));
    }
}
