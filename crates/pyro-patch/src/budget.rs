//! A bound on the work that one patch may make, counted and not timed: the same patch ends in the
//! same way on every machine.

/// Units of work for all searches of one patch: below a second, and far above what real patches
/// need. Without a bound a file of equal lines would take minutes.
const BUDGET: u64 = 100_000_000;

/// The searches went beyond [`BUDGET`].
#[derive(Debug)]
pub(crate) struct Exhausted;

#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { left: BUDGET }
    }

    pub(crate) fn spend(&mut self, units: usize) -> Result<(), Exhausted> {
        self.left = self.left.checked_sub(units as u64).ok_or(Exhausted)?;
        Ok(())
    }
}
