//! A guest that stands still because the host's disk is full, and what becomes of it.
//!
//! ```text
//! a write fails ▶ the guest stands still ──▶ a try every second ──▶ no failure for a while: over
//!                          ▲                         │
//!                          └── another failure ◀─────┘──▶ for too long: the VM's end
//! ```
//!
//! QEMU keeps the writes that failed and repeats them when the guest goes on, so nothing is lost and
//! the guest never hears of it. Disks fill up and are cleared while somebody builds something; but a
//! guest that stands still keeps people waiting, so there is a limit.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How long a guest may stand still.
const PAUSE_LIMIT: Duration = Duration::from_secs(30);

/// How long until the next try.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a try goes on without a failure before it counts as a success.
const RETRY_SUCCESS: Duration = Duration::from_secs(1);

pub(super) struct DiskFull {
    /// What failed, for people.
    pub(super) message: String,
    since: Instant,
    /// The end of the pause, or of the trial.
    next: Instant,
    retrying: bool,
}

/// What to do when a pause or a trial is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Let the guest go on.
    Retry,
    /// There is space again.
    Resolved,
}

impl DiskFull {
    pub(super) fn new(message: String) -> Self {
        let now = Instant::now();
        Self {
            message,
            since: now,
            next: now + RETRY_INTERVAL,
            retrying: false,
        }
    }

    /// A write failed again. False when that has happened for too long.
    pub(super) fn within_limit(&mut self) -> bool {
        if self.retrying {
            self.retrying = false;
            self.next = Instant::now() + RETRY_INTERVAL;
        }
        self.since.elapsed() < PAUSE_LIMIT
    }

    /// Resolves when there is something to do. May be dropped and asked again.
    pub(super) async fn step(&mut self) -> Step {
        sleep_until(self.next).await;
        if self.retrying {
            return Step::Resolved;
        }
        self.retrying = true;
        self.next = Instant::now() + RETRY_SUCCESS;
        Step::Retry
    }
}
