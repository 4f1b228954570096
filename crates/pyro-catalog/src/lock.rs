//! One pull per environment at a time, over all processes.
//!
//! A lock is held on an open file (`flock`), so the kernel lets go of it when its holder
//! dies. Lock files are never deleted: a waiter would then hold a lock on a nameless file.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::{CatalogError, ProgressMonitor};

/// How long a waiter sleeps; the wait for a lock is polled so that it can be cancelled.
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Lock {
    _held: Flock<File>,
}

impl Lock {
    /// Takes the lock, or returns `None` when another holds it.
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<Self>, CatalogError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(CatalogError::writing("open the lock file", path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Some(Self { _held: held })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(CatalogError::reading("lock", path)(error.into())),
        }
    }

    /// Waits for the lock; the second value says whether it had to. `waiting` is called once.
    pub(crate) fn acquire(
        path: &Path,
        monitor: &dyn ProgressMonitor,
        waiting: &dyn Fn(),
    ) -> Result<(Self, bool), CatalogError> {
        let mut waited = false;
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok((lock, waited));
            }
            if !waited {
                waiting();
            }
            waited = true;
            if monitor.cancelled() {
                return Err(CatalogError::Cancelled);
            }
            thread::sleep(POLL);
        }
    }
}
