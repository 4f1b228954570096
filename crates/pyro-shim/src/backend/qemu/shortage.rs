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
const LIMIT: Duration = Duration::from_secs(30);

/// How long until the next try.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a try goes on without a failure before it counts as a success.
const TRIAL: Duration = Duration::from_secs(1);

pub(super) struct Shortage {
    /// What failed, for people.
    pub(super) message: String,
    since: Instant,
    /// The end of the pause, or of the trial.
    next: Instant,
    trying: bool,
}

/// What to do when a pause or a trial is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Let the guest go on.
    Try,
    /// The shortage is over.
    Forget,
}

impl Shortage {
    pub(super) fn new(message: String) -> Self {
        let now = Instant::now();
        Self {
            message,
            since: now,
            next: now + PAUSE,
            trying: false,
        }
    }

    /// A write failed again. False when that has happened for too long.
    pub(super) fn goes_on(&mut self) -> bool {
        if self.trying {
            self.trying = false;
            self.next = Instant::now() + PAUSE;
        }
        self.since.elapsed() < LIMIT
    }

    /// Resolves when there is something to do. May be dropped and asked again.
    pub(super) async fn step(&mut self) -> Step {
        sleep_until(self.next).await;
        if self.trying {
            return Step::Forget;
        }
        self.trying = true;
        self.next = Instant::now() + TRIAL;
        Step::Try
    }
}
