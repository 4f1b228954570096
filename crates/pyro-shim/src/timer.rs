//! Timers on clocks that an ordinary timer does not follow: it stands still while the host sleeps
//! and knows nothing of a clock that was set. Those of the kernel fire when their clock shows the
//! time, either way.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;

use crate::descriptor::watch;

/// Arms a timer for the time that a clock will show. The future resolves then, or at once when that
/// has passed.
pub(crate) fn at(clock: ClockId, time: Duration) -> io::Result<impl Future<Output = ()>> {
    let timer = TimerFd::new(clock, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
    // Zero would disarm the timer, and a time beyond the kernel's reckoning is as good as never.
    let soonest = Duration::from_nanos(1);
    let latest = Duration::from_nanos(i64::MAX as u64);
    timer.set(
        Expiration::OneShot(TimeSpec::from_duration(time.clamp(soonest, latest))),
        TimerSetTimeFlags::TFD_TIMER_ABSTIME,
    )?;
    let timer = watch(OwnedFd::from(timer), Interest::READABLE)?;
    Ok(async move {
        // An error means that the runtime is going, and the VM with it.
        let _ = timer.readable().await;
    })
}

/// As [`at`] by the wall clock, in milliseconds since 1970.
pub(crate) fn at_unix(unix_ms: u64) -> io::Result<impl Future<Output = ()>> {
    at(ClockId::CLOCK_REALTIME, Duration::from_millis(unix_ms))
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    use super::*;

    #[tokio::test]
    async fn it_fires_at_its_time_and_not_before() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let begun = Instant::now();
        at_unix(now.as_millis() as u64 + 200).unwrap().await;
        assert!(begun.elapsed() >= Duration::from_millis(150));
    }

    #[tokio::test]
    async fn the_past_is_now_and_the_far_future_is_not() {
        at_unix(0).unwrap().await;
        at_unix(1).unwrap().await;
        let never = tokio::time::timeout(Duration::from_millis(50), at_unix(u64::MAX).unwrap());
        assert!(never.await.is_err());
    }
}
