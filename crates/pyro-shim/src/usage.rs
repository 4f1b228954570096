//! Who uses the VM: the lines to its agent, and when somebody last worked with it.
//!
//! Idle time is counted on the clock that runs while the host sleeps and that nobody can set
//! (`CLOCK_BOOTTIME`). A VM that nobody used for an hour is idle for an hour, whatever its host did
//! meanwhile; and a wall clock that jumps ends nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::timerfd::ClockId as TimerClock;
use nix::time::{ClockId, clock_gettime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::timer;

/// Lines to the agent at one time, each of which takes two descriptors.
const LINES: usize = 192;

/// Connections to published ports at one time; more wait their turn. With the lines they leave some
/// of the session's 1024 streams to the shim itself.
const FORWARDS: usize = 768;

/// Fewer of either are of no use.
const FEWEST: usize = 16;

/// Descriptors for everything else: the guest's channel, the sockets that are listened at, files.
const OTHERS: u64 = 128;

/// The shortest time between two looks at a VM that is in use.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Usage {
    places: Places,
    lines: Arc<Semaphore>,
    forwards: Arc<Semaphore>,
    /// When the last use was, in milliseconds since the host's start.
    last: AtomicU64,
}

/// How many lines and connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Places {
    lines: usize,
    forwards: usize,
}

impl Places {
    /// As many as fit into so many descriptors: what finds no place is refused, or waits, and the VM
    /// never lacks what it needs itself.
    fn within(files: u64) -> Self {
        let left = usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(usize::MAX);
        let lines = (left / 4).clamp(FEWEST, LINES);
        Self {
            lines,
            forwards: left.saturating_sub(2 * lines).clamp(FEWEST, FORWARDS),
        }
    }
}

/// A line to the agent, or a connection to a port of the guest. While it is there the VM is in use.
pub(crate) struct Line {
    usage: Arc<Usage>,
    _place: OwnedSemaphorePermit,
}

impl Usage {
    /// For a process that may have so many descriptors.
    pub(crate) fn new(files: u64) -> Arc<Self> {
        let places = Places::within(files);
        Arc::new(Self {
            places,
            lines: Arc::new(Semaphore::new(places.lines)),
            forwards: Arc::new(Semaphore::new(places.forwards)),
            last: AtomicU64::new(now_ms()),
        })
    }

    /// A place for one more line, where there is one.
    pub(crate) fn line(self: &Arc<Self>) -> Option<Line> {
        let place = Arc::clone(&self.lines).try_acquire_owned().ok()?;
        Some(Line {
            usage: Arc::clone(self),
            _place: place,
        })
    }

    /// A place for one more connection to a port, when there is one.
    pub(crate) async fn forward(self: &Arc<Self>) -> Option<Line> {
        let place = Arc::clone(&self.forwards).acquire_owned().await.ok()?;
        Some(Line {
            usage: Arc::clone(self),
            _place: place,
        })
    }

    /// How many lines there may be.
    pub(crate) fn most_lines(&self) -> usize {
        self.places.lines
    }

    /// Lines that are open right now.
    pub(crate) fn lines(&self) -> u32 {
        u32::try_from(self.places.lines - self.lines.available_permits()).unwrap_or(u32::MAX)
    }

    /// Somebody works with the VM.
    pub(crate) fn touch(&self) {
        self.last.store(now_ms(), Ordering::Relaxed);
    }

    /// The VM was in use so long ago, as it turns out.
    pub(crate) fn was_used(&self, ago: Duration) {
        let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let at = now_ms().saturating_sub(ago);
        self.last.fetch_max(at, Ordering::Relaxed);
    }

    /// How long nobody has.
    pub(crate) fn quiet(&self) -> Duration {
        if self.lines() > 0 || self.forwards.available_permits() < self.places.forwards {
            return Duration::ZERO;
        }
        Duration::from_millis(now_ms().saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    /// When somebody last did, in milliseconds since 1970 by the clock as it is now.
    pub(crate) fn last_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last_ms_by(now.unwrap_or_default())
    }

    fn last_ms_by(&self, wall_clock: Duration) -> u64 {
        let last = wall_clock.saturating_sub(self.quiet());
        u64::try_from(last.as_millis()).unwrap_or(u64::MAX)
    }

    /// Resolves when nobody has worked with the VM for so long.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        loop {
            let left = limit.saturating_sub(self.quiet());
            if left.is_zero() {
                return;
            }
            // A look too early costs nothing but another one.
            let look = Duration::from_millis(now_ms()).saturating_add(left.max(LOOK));
            match timer::at(TimerClock::CLOCK_BOOTTIME, look) {
                Ok(timer) => timer.await,
                // No descriptor is left: a timer that sleeps when the host does needs none.
                Err(_) => tokio::time::sleep(left.max(LOOK)).await,
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.usage.touch();
    }
}

fn now_ms() -> u64 {
    // Fails on kernels without this clock, none of which runs anything else here.
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const SHORT: Duration = Duration::from_millis(150);

    #[tokio::test]
    async fn a_line_is_use_for_as_long_as_it_is_there() {
        let usage = Usage::new(8192);
        let line = usage.line().unwrap();
        assert_eq!((usage.lines(), usage.quiet()), (1, Duration::ZERO));
        let idle = usage.idle_for(SHORT);
        tokio::pin!(idle);
        let waited = tokio::time::timeout(3 * SHORT, &mut idle).await;
        assert!(waited.is_err());
        drop(line);
        assert!(usage.quiet() < SHORT);
        idle.await;
        assert!(usage.quiet() >= SHORT);
    }

    #[tokio::test]
    async fn a_touch_begins_the_time_anew() {
        let usage = Usage::new(8192);
        tokio::time::sleep(SHORT).await;
        assert!(usage.idle_for(SHORT).now_or_never().is_some());
        let before = usage.last_ms();
        usage.touch();
        assert!(usage.idle_for(SHORT).now_or_never().is_none());
        assert!(usage.last_ms() > before);
    }

    #[tokio::test]
    async fn use_that_is_heard_of_late_counts_from_when_it_was() {
        let usage = Usage::new(8192);
        tokio::time::sleep(SHORT).await;
        usage.was_used(SHORT / 3);
        assert!(usage.quiet() >= SHORT / 3 && usage.quiet() < SHORT);
        // What is older than what is known already changes nothing.
        let before = usage.last_ms();
        usage.was_used(10 * SHORT);
        assert!(usage.last_ms().abs_diff(before) <= 1);
    }

    #[tokio::test]
    async fn a_wall_clock_that_is_set_moves_the_last_use_along() {
        let usage = Usage::new(8192);
        tokio::time::sleep(SHORT).await;
        let day = Duration::from_secs(86_400);
        for now in [10 * day, 11 * day, 9 * day] {
            let ago = now.as_millis() as u64 - usage.last_ms_by(now);
            assert!(ago >= SHORT.as_millis() as u64 && ago < 60_000, "{ago}");
        }
        // Before 1970 there is nothing.
        assert_eq!(usage.last_ms_by(Duration::ZERO), 0);
    }

    #[test]
    fn few_descriptors_are_few_places() {
        let of = |files| {
            let Places { lines, forwards } = Places::within(files);
            (lines, forwards)
        };
        assert_eq!(of(8192), (LINES, FORWARDS));
        assert_eq!(of(1024), (LINES, 512));
        assert_eq!(of(256), (32, 64));
        assert_eq!(of(0), (FEWEST, FEWEST));
        for files in 256..10_000 {
            let (lines, forwards) = of(files);
            assert!(
                OTHERS + 2 * lines as u64 + forwards as u64 <= files,
                "{files}"
            );
        }
    }

    #[test]
    fn places_are_limited_and_given_back() {
        let usage = Usage::new(8192);
        let mut lines: Vec<Line> = (0..LINES).map(|_| usage.line().unwrap()).collect();
        assert!(usage.line().is_none());
        lines.pop();
        assert!(usage.line().is_some());
    }

    #[tokio::test]
    async fn an_endless_time_is_no_time() {
        let usage = Usage::new(8192);
        let never = usage.idle_for(Duration::from_millis(u64::MAX));
        assert!(tokio::time::timeout(SHORT, never).await.is_err());
    }
}
