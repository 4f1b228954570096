//! The scrollback of all shells together: how much each may keep, and when one last wrote.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use pyro_wire::shells::SCROLLBACK_BYTES;

use crate::clock::uptime;

/// What all shells together keep, in bytes.
const TOTAL: usize = 32 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Scrollback {
    shells: AtomicUsize,
    /// When one last wrote something, in milliseconds since the guest's start.
    last_output: AtomicU64,
}

impl Scrollback {
    /// How much one shell may keep.
    pub(super) fn limit(&self) -> usize {
        SCROLLBACK_BYTES.min(TOTAL / self.shells.load(Ordering::Relaxed).max(1))
    }

    pub(super) fn set_shells(&self, count: usize) {
        self.shells.store(count, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self) {
        // Zero means never.
        self.last_output
            .store(uptime_ms().max(1), Ordering::Relaxed);
    }

    /// How long ago a shell last wrote something.
    pub(super) fn last_output_ms(&self) -> Option<u64> {
        let last = self.last_output.load(Ordering::Relaxed);
        (last > 0).then(|| uptime_ms().saturating_sub(last))
    }
}

fn uptime_ms() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
}
