//! One change of the workspace at a time, and none while the disk is frozen.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};
use tokio::time::timeout;

/// How long a change may wait for the one before it.
const WAIT: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
pub(crate) struct ChangeLock(Arc<Mutex<()>>);

impl ChangeLock {
    /// Waits for whoever holds it. `None`: that took too long.
    pub(crate) async fn acquire(&self) -> Option<OwnedMutexGuard<()>> {
        self.acquire_within(WAIT).await
    }

    pub(crate) async fn acquire_within(&self, limit: Duration) -> Option<OwnedMutexGuard<()>> {
        timeout(limit, Arc::clone(&self.0).lock_owned()).await.ok()
    }

    pub(crate) fn try_acquire(&self) -> Option<MutexGuard<'_, ()>> {
        self.0.try_lock().ok()
    }
}
