//! Who uses the VM: the connections to its agent, and when somebody last worked with it.
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

/// Connections to the agent at one time, each of which takes two descriptors.
const MAX_CONNECTIONS: usize = 192;

/// Connections to published ports at one time; more wait their turn. Together they leave some of
/// the session's 1024 streams to the shim itself.
const MAX_FORWARDS: usize = 768;

/// Fewer of either are of no use.
const MIN_LIMIT: usize = 16;

/// Descriptors for everything else: the guest's channel, the sockets that are listened at, files.
const RESERVED_DESCRIPTORS: u64 = 128;

/// The shortest time between two looks at a VM that is in use.
const MIN_LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Usage {
    limits: Limits,
    connections: Arc<Semaphore>,
    forwards: Arc<Semaphore>,
    /// When the last use was, in milliseconds since the host's start.
    last_use: AtomicU64,
}

/// How many connections and forwards there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    connections: usize,
    forwards: usize,
}

impl Limits {
    /// As many as fit into so many descriptors: any more are refused, or wait, and the VM never lacks
    /// what it needs itself.
    fn for_descriptors(files: u64) -> Self {
        let left =
            usize::try_from(files.saturating_sub(RESERVED_DESCRIPTORS)).unwrap_or(usize::MAX);
        let connections = (left / 4).clamp(MIN_LIMIT, MAX_CONNECTIONS);
        Self {
            connections,
            forwards: left
                .saturating_sub(2 * connections)
                .clamp(MIN_LIMIT, MAX_FORWARDS),
        }
    }
}

/// Held by a connection to the agent or to a port of the guest. While there is one the VM is in use.
pub(crate) struct Lease {
    usage: Arc<Usage>,
    _permit: OwnedSemaphorePermit,
}

impl Usage {
    /// For a process that may have so many descriptors.
    pub(crate) fn new(files: u64) -> Arc<Self> {
        let limits = Limits::for_descriptors(files);
        Arc::new(Self {
            limits,
            connections: Arc::new(Semaphore::new(limits.connections)),
            forwards: Arc::new(Semaphore::new(limits.forwards)),
            last_use: AtomicU64::new(boottime_ms()),
        })
    }

    /// A lease for one more connection to the agent, unless there are too many.
    pub(crate) fn connection(self: &Arc<Self>) -> Option<Lease> {
        let permit = Arc::clone(&self.connections).try_acquire_owned().ok()?;
        Some(Lease {
            usage: Arc::clone(self),
            _permit: permit,
        })
    }

    /// A lease for one more connection to a port, as soon as there are not too many.
    pub(crate) async fn forward(self: &Arc<Self>) -> Option<Lease> {
        let permit = Arc::clone(&self.forwards).acquire_owned().await.ok()?;
        Some(Lease {
            usage: Arc::clone(self),
            _permit: permit,
        })
    }

    /// How many connections to the agent there may be.
    pub(crate) fn max_connections(&self) -> usize {
        self.limits.connections
    }

    /// Connections to the agent that are open right now.
    pub(crate) fn connections(&self) -> u32 {
        u32::try_from(self.limits.connections - self.connections.available_permits())
            .unwrap_or(u32::MAX)
    }

    /// Somebody works with the VM.
    pub(crate) fn touch(&self) {
        self.last_use.store(boottime_ms(), Ordering::Relaxed);
    }

    /// The VM was in use so long ago, which is learned only now.
    pub(crate) fn used_ago(&self, ago: Duration) {
        let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let at = boottime_ms().saturating_sub(ago);
        self.last_use.fetch_max(at, Ordering::Relaxed);
    }

    /// How long nobody has worked with the VM.
    pub(crate) fn idle_time(&self) -> Duration {
        if self.connections() > 0 || self.forwards.available_permits() < self.limits.forwards {
            return Duration::ZERO;
        }
        Duration::from_millis(boottime_ms().saturating_sub(self.last_use.load(Ordering::Relaxed)))
    }

    /// When somebody last did, in milliseconds since 1970 by the clock as it is now.
    pub(crate) fn last_use_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last_use_ms_by(now.unwrap_or_default())
    }

    fn last_use_ms_by(&self, wall_clock: Duration) -> u64 {
        let last_use = wall_clock.saturating_sub(self.idle_time());
        u64::try_from(last_use.as_millis()).unwrap_or(u64::MAX)
    }

    /// Resolves when nobody has worked with the VM for so long.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        loop {
            let left = limit.saturating_sub(self.idle_time());
            if left.is_zero() {
                return;
            }
            // A look too early costs nothing but another one.
            let next_look = Duration::from_millis(boottime_ms()).saturating_add(left.max(MIN_LOOK));
            match timer::at(TimerClock::CLOCK_BOOTTIME, next_look) {
                Ok(timer) => timer.await,
                // No descriptor is left: a timer that sleeps when the host does needs none.
                Err(_) => tokio::time::sleep(left.max(MIN_LOOK)).await,
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.usage.touch();
    }
}

fn boottime_ms() -> u64 {
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
    async fn a_connection_is_use_for_as_long_as_it_is_open() {
        let usage = Usage::new(8192);
        let connection = usage.connection().unwrap();
        assert_eq!(
            (usage.connections(), usage.idle_time()),
            (1, Duration::ZERO)
        );
        let idle = usage.idle_for(SHORT);
        tokio::pin!(idle);
        let waited = tokio::time::timeout(3 * SHORT, &mut idle).await;
        assert!(waited.is_err());
        drop(connection);
        assert!(usage.idle_time() < SHORT);
        idle.await;
        assert!(usage.idle_time() >= SHORT);
    }

    #[tokio::test]
    async fn a_touch_begins_the_time_anew() {
        let usage = Usage::new(8192);
        tokio::time::sleep(SHORT).await;
        assert!(usage.idle_for(SHORT).now_or_never().is_some());
        let before = usage.last_use_ms();
        usage.touch();
        assert!(usage.idle_for(SHORT).now_or_never().is_none());
        assert!(usage.last_use_ms() > before);
    }

    #[tokio::test]
    async fn use_that_is_heard_of_late_counts_from_when_it_was() {
        let usage = Usage::new(8192);
        tokio::time::sleep(SHORT).await;
        usage.used_ago(SHORT / 3);
        assert!(usage.idle_time() >= SHORT / 3 && usage.idle_time() < SHORT);
        // What is older than what is known already changes nothing.
        let before = usage.last_use_ms();
        usage.used_ago(10 * SHORT);
        assert!(usage.last_use_ms().abs_diff(before) <= 1);
    }

    #[tokio::test]
    async fn a_wall_clock_that_is_set_moves_the_last_use_along() {
        let usage = Usage::new(8192);
        tokio::time::sleep(SHORT).await;
        let day = Duration::from_secs(86_400);
        for now in [10 * day, 11 * day, 9 * day] {
            let ago = now.as_millis() as u64 - usage.last_use_ms_by(now);
            assert!(ago >= SHORT.as_millis() as u64 && ago < 60_000, "{ago}");
        }
        // Before 1970 there is nothing.
        assert_eq!(usage.last_use_ms_by(Duration::ZERO), 0);
    }

    #[test]
    fn few_descriptors_are_few_connections() {
        let of = |files| {
            let Limits {
                connections,
                forwards,
            } = Limits::for_descriptors(files);
            (connections, forwards)
        };
        assert_eq!(of(8192), (MAX_CONNECTIONS, MAX_FORWARDS));
        assert_eq!(of(1024), (MAX_CONNECTIONS, 512));
        assert_eq!(of(256), (32, 64));
        assert_eq!(of(0), (MIN_LIMIT, MIN_LIMIT));
        for files in 256..10_000 {
            let (connections, forwards) = of(files);
            assert!(
                RESERVED_DESCRIPTORS + 2 * connections as u64 + forwards as u64 <= files,
                "{files}"
            );
        }
    }

    #[test]
    fn permits_are_limited_and_given_back() {
        let usage = Usage::new(8192);
        let mut connections: Vec<Lease> = (0..MAX_CONNECTIONS)
            .map(|_| usage.connection().unwrap())
            .collect();
        assert!(usage.connection().is_none());
        connections.pop();
        assert!(usage.connection().is_some());
    }

    #[tokio::test]
    async fn an_endless_time_is_no_time() {
        let usage = Usage::new(8192);
        let never = usage.idle_for(Duration::from_millis(u64::MAX));
        assert!(tokio::time::timeout(SHORT, never).await.is_err());
    }
}
