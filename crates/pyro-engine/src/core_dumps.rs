//! No core file of this process while it holds what must not be on a disk.

use std::sync::{Mutex, PoisonError};

use nix::sys::prctl::{get_dumpable, set_dumpable};

static HELD: Mutex<Held> = Mutex::new(Held {
    guards: 0,
    before: false,
});

struct Held {
    guards: usize,
    /// What the process had set when the first guard was made.
    before: bool,
}

/// While there is one, a crash leaves no core file, and no other process of the user may look into
/// this one. A limit on the size of core files would not do: it does not bind a program that is
/// given them through a pipe.
pub(crate) struct NoCoreDumps(());

impl NoCoreDumps {
    pub(crate) fn begin() -> Self {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if held.guards == 0 {
            held.before = get_dumpable().unwrap_or(true);
            // It cannot fail with these values.
            let _ = set_dumpable(false);
        }
        held.guards += 1;
        Self(())
    }
}

impl Drop for NoCoreDumps {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.guards -= 1;
        if held.guards == 0 && held.before {
            let _ = set_dumpable(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_guard_to_go_lets_cores_be_dumped_again() {
        // Other tests of this process hold guards too, so what was before is not looked at.
        let first = NoCoreDumps::begin();
        let second = NoCoreDumps::begin();
        drop(first);
        assert!(!get_dumpable().unwrap());
        drop(second);
    }
}
