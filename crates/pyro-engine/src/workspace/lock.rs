//! Who may change what a workspace runs on.

use std::fs::File;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use pyro_api::{Error, ErrorCode};
use tokio::time::{Instant, sleep};

use super::errors::unknown;
use super::folder::WorkspaceFolder;
use crate::error::host_io;
use crate::private_file;

/// Longer than a boot with its second try takes.
const PATIENCE: Duration = Duration::from_secs(180);

const POLL: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockMode {
    /// The VM stays as it is; others may hold it so as well.
    Shared,
    /// Nobody else holds it.
    Exclusive,
}

/// A held lock; dropping it lets go.
pub(crate) struct WorkspaceLock(#[expect(dead_code, reason = "held for its lock")] Flock<File>);

impl WorkspaceFolder {
    pub(crate) async fn lock(&self, id: &str, mode: LockMode) -> Result<WorkspaceLock, Error> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => unknown(id)
                .because("its folder is gone")
                .hint("`pyro workspace delete` (`workspace_delete`) removes the rest of it"),
            _ => host_io(format!("Workspace `{id}` could not be locked"), &error),
        };
        let mut file = private_file::open(&self.lock_file()).map_err(failed)?;
        let how = match mode {
            LockMode::Shared => FlockArg::LockSharedNonblock,
            LockMode::Exclusive => FlockArg::LockExclusiveNonblock,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Flock::lock(file, how) {
                Ok(lock) => return Ok(WorkspaceLock(lock)),
                Err((back, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = back,
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(Error::new(
                        ErrorCode::Conflict,
                        format!("Workspace `{id}` is being changed by another process"),
                    )
                    .because(format!("it did not end within {} s", PATIENCE.as_secs()))
                    .hint("Wait for it, or end it"));
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            }
            sleep(POLL).await;
        }
    }

    /// The exclusive lock if it is free, for what can as well be done another time.
    pub(crate) fn try_lock(&self) -> Option<WorkspaceLock> {
        let file = File::open(self.lock_file()).ok()?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        Some(WorkspaceLock(lock))
    }
}
