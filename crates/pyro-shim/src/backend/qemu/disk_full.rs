//! A guest that stands still because the host's disk is full, and what becomes of it.
//!
//! ```text
//! a write fails ▶ the guest stands still ──▶ a try every second ──▶ no failure for a second: it goes on
//!                          ▲                         │                       │
//!                          └──── another failure ◀───┴───────────────────────┤
//!                                      │                                     ▼
//!                                      └──▶ for too long: the VM's end      nor for ten: over
//! ```
//!
//! QEMU keeps the writes that failed and repeats them when the guest goes on, so nothing is lost and
//! the guest never hears of it. Disks fill up and are cleared while somebody builds something; but a
//! guest that stands still keeps people waiting, so there is a limit. On a busy host the repeated
//! write may fail only after a second: that a guest goes on for a moment does not begin the time anew.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How long a guest may stand still.
const PAUSE_LIMIT: Duration = Duration::from_secs(30);

/// How long until the next try.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a try goes on without a failure before the guest counts as going on.
const RETRY_SUCCESS: Duration = Duration::from_secs(1);

/// How long there is no failure before the next one has a time of its own.
const QUIET: Duration = Duration::from_secs(10);

pub(super) struct DiskFull {
    /// What failed, for people.
    pub(super) message: String,
    since: Instant,
    state: State,
    /// The end of this state.
    until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Standstill,
    Retrying,
    GoesOn,
}

/// What to do when a state is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Let the guest go on.
    Retry,
    /// Forget it: there is space again.
    Resolved,
}

impl DiskFull {
    pub(super) fn new(message: String) -> Self {
        let now = Instant::now();
        Self {
            message,
            since: now,
            state: State::Standstill,
            until: now + RETRY_INTERVAL,
        }
    }

    pub(super) fn stands_still(&self) -> bool {
        self.state != State::GoesOn
    }

    /// A write failed again. False when that has happened for too long.
    pub(super) fn within_limit(&mut self) -> bool {
        if self.state != State::Standstill {
            self.enter(State::Standstill, RETRY_INTERVAL);
        }
        self.since.elapsed() < PAUSE_LIMIT
    }

    /// Resolves when there is something to do. May be dropped and asked again.
    pub(super) async fn step(&mut self) -> Step {
        loop {
            sleep_until(self.until).await;
            match self.state {
                State::Standstill => {
                    self.enter(State::Retrying, RETRY_SUCCESS);
                    return Step::Retry;
                }
                State::Retrying => self.enter(State::GoesOn, QUIET),
                State::GoesOn => return Step::Resolved,
            }
        }
    }

    fn enter(&mut self, state: State, time: Duration) {
        self.state = state;
        self.until = Instant::now() + time;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    fn full() -> DiskFull {
        DiskFull::new("full".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_with_space_again_goes_on_and_has_a_new_limit_later() {
        let mut disk = full();
        assert!(disk.stands_still());
        assert_eq!(disk.step().await, Step::Retry);
        assert!(disk.stands_still());
        let began = Instant::now();
        assert_eq!(disk.step().await, Step::Resolved);
        assert!(!disk.stands_still());
        assert_eq!(began.elapsed().as_secs(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn whether_a_try_fails_sooner_or_later_the_limit_is_the_same() {
        for fails_after in [1, 900, 1100, 2500, 9000].map(Duration::from_millis) {
            let (mut disk, began) = (full(), Instant::now());
            loop {
                assert_eq!(disk.step().await, Step::Retry);
                let failure = timeout(fails_after, disk.step()).await;
                assert!(failure.is_err(), "given up after {fails_after:?}");
                if !disk.within_limit() {
                    break;
                }
                assert!(disk.stands_still());
            }
            let lasted = began.elapsed();
            let limits = PAUSE_LIMIT..PAUSE_LIMIT + RETRY_INTERVAL + fails_after;
            assert!(limits.contains(&lasted), "{lasted:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_one_standstill_do_not_put_off_the_next_try() {
        let mut disk = full();
        advance(RETRY_INTERVAL / 2).await;
        assert!(disk.within_limit());
        advance(RETRY_INTERVAL / 2).await;
        let began = Instant::now();
        assert_eq!(disk.step().await, Step::Retry);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
