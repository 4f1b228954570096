//! How far a guest's wall clock is from the host's.
//!
//! A question and its answer enclose the moment at which the guest looked at its clock. The faster
//! both were, the better the difference is known; of several exchanges only what all of them allow
//! can be true.

use std::time::{SystemTime, UNIX_EPOCH};

/// A difference that nobody needs to correct: half of what a guest is promised.
pub(crate) const CLOSE_NS: u64 = 50_000_000;

/// How often to ask at most. On the most crowded host one of so many is fast.
pub(crate) const ROUNDS: u32 = 10;

/// How far apart the limits of a difference that is known well enough may be.
const NARROW_NS: i64 = 20_000_000;

/// The host's wall clock: nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// The host's wall clock: milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// How far a clock is ahead of the host's: somewhere between two limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offset {
    at_least: i64,
    at_most: i64,
}

impl Default for Offset {
    fn default() -> Self {
        Self {
            at_least: i64::MIN,
            at_most: i64::MAX,
        }
    }
}

impl Offset {
    /// What an exchange tells: the clock said `theirs` somewhen from `asked` to `heard`.
    pub(crate) fn learn(&mut self, asked: u64, theirs: u64, heard: u64) {
        self.at_least = self.at_least.max(ahead(theirs, heard));
        self.at_most = self.at_most.min(ahead(theirs, asked));
        if self.at_least.saturating_sub(self.at_most) > NARROW_NS {
            // No difference is all of that: one of the clocks was set meanwhile.
            *self = Self::default();
        }
    }

    pub(crate) fn is_known(self) -> bool {
        self.at_most.saturating_sub(self.at_least) <= NARROW_NS
    }

    /// What to move the clock by.
    pub(crate) fn correction_ns(self) -> i64 {
        let middle = (i128::from(self.at_least) + i128::from(self.at_most)) / 2;
        i64::try_from(-middle).unwrap_or(0)
    }
}

fn ahead(theirs: u64, ours: u64) -> i64 {
    let ahead = i128::from(theirs) - i128::from(ours);
    i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_way_there_and_the_fastest_way_back_count() {
        const MS: u64 = 1_000_000;
        let mut offset = Offset::default();
        assert!(!offset.is_known());
        assert_eq!(offset.correction_ns(), 0);
        // 300 ms behind: slow on the way back, then slow on the way there.
        offset.learn(1000 * MS, 705 * MS, 1500 * MS);
        assert!(!offset.is_known());
        offset.learn(2000 * MS, 2700 * MS, 3005 * MS);
        assert!(offset.is_known());
        assert_eq!(offset.correction_ns(), 300 * 1_000_000);
    }

    #[test]
    fn a_clock_that_is_set_meanwhile_is_asked_anew() {
        const MS: u64 = 1_000_000;
        const DAY: u64 = 86_400_000 * MS;
        // The host's, back by a day: within an exchange, and between two.
        for heard in [10 * MS, DAY + 40 * MS] {
            let mut offset = Offset::default();
            offset.learn(DAY, DAY + 5 * MS, heard);
            offset.learn(20 * MS, DAY + 15 * MS, 30 * MS);
            offset.learn(40 * MS, DAY + 35 * MS, 50 * MS);
            assert!(offset.is_known());
            let error = offset.correction_ns() + DAY.cast_signed();
            assert!(error.abs() <= 20_000_000, "{error}");
        }
        // And on by a day.
        let mut offset = Offset::default();
        offset.learn(0, 5 * MS, DAY + 10 * MS);
        offset.learn(DAY + 20 * MS, 15 * MS, DAY + 30 * MS);
        assert!(offset.is_known());
        assert!((offset.correction_ns() - DAY.cast_signed()).abs() <= 20_000_000);
    }

    #[test]
    fn times_of_no_sense_do_no_harm() {
        let mut offset = Offset::default();
        offset.learn(0, u64::MAX, 0);
        offset.learn(u64::MAX, 0, u64::MAX);
        let _ = offset.correction_ns();
    }
}
