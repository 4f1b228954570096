//! How much is too much.

use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Beside the guest's memory: gVisor's kernel, which grows with what the guest does, its server of
/// files, and the processes that the guest's programs run in. A sandbox that does nothing takes 30 MiB.
const OWN: u64 = 128 * MIB;

/// And so much of the guest's memory.
const OWN_PART: u64 = 8;

/// What a guest may have taken beyond its limit for a moment, until its agent has killed somebody.
const OVERSHOOT: u64 = 448 * MIB;

/// How fast one processor takes memory. What was measured is 0.3 to 1 GiB; the time between two looks
/// is chosen so that a guest at this speed is seen before it has passed everything.
const BYTES_PER_SECOND: u64 = 2048 * MIB;

/// With more processors the host's memory itself is what is slow.
const FAST_PROCESSORS: u64 = 4;

const SOONEST: Duration = Duration::from_millis(10);
const LATEST: Duration = Duration::from_millis(500);

/// What a sandbox may take of the host's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Allowance {
    /// What the guest has for its programs and its file systems in memory.
    pub(super) guest: u64,
    /// With what gVisor takes itself.
    pub(in super::super) all: u64,
    /// Nothing may take more, not even for a moment.
    pub(super) at_once: u64,
    bytes_per_second: u64,
}

impl Allowance {
    pub(in super::super) fn new(mem_mib: u32, processors: u32) -> Self {
        let guest = u64::from(mem_mib) * MIB;
        let all = guest + OWN + guest / OWN_PART;
        let processors = u64::from(processors).clamp(1, FAST_PROCESSORS);
        Self {
            guest,
            all,
            at_once: all.max(guest + OVERSHOOT),
            bytes_per_second: BYTES_PER_SECOND * processors,
        }
    }

    /// When to look again at a sandbox that has taken so much.
    pub(super) fn next_look(&self, taken: u64) -> Duration {
        // Whoever has passed a limit is looked at often: what follows depends on how it goes on.
        let until = if taken > self.guest {
            0
        } else {
            self.at_once - taken
        };
        let ms = until.saturating_mul(1000) / self.bytes_per_second;
        Duration::from_millis(ms).clamp(SOONEST, LATEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gvisor_takes_itself_is_allowed_for() {
        let allowance = Allowance::new(512, 1);
        assert_eq!(allowance.guest, 512 * MIB);
        assert_eq!(allowance.all, (512 + 128 + 64) * MIB);
        assert_eq!(allowance.at_once, (512 + 448) * MIB);
        let large = Allowance::new(8192, 2);
        assert_eq!(large.all, (8192 + 128 + 1024) * MIB);
        assert_eq!(large.at_once, large.all);
    }

    #[test]
    fn who_may_pass_the_limit_soon_is_looked_at_soon() {
        let allowance = Allowance::new(512, 1);
        assert_eq!(allowance.next_look(0), Duration::from_millis(468));
        assert_eq!(allowance.next_look(448 * MIB), Duration::from_millis(250));
        assert_eq!(allowance.next_look(513 * MIB), SOONEST);
        assert_eq!(allowance.next_look(u64::MAX), SOONEST);
        assert_eq!(Allowance::new(8192, 1).next_look(0), LATEST);
        let four = Allowance::new(512, 64);
        assert_eq!(four.next_look(0), Duration::from_millis(117));
    }
}
