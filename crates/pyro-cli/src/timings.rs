//! `PYRO_TIMINGS`: where the time of a command goes, on standard error when it is over.

use std::sync::{Arc, Mutex, PoisonError};

use pyro_engine::timings::{self, Step, now_us};

use crate::event_printer::say;

/// Steps are told when this is set and not empty.
const VARIABLE: &str = "PYRO_TIMINGS";

/// What was told so far.
pub(crate) struct Timings {
    begun_us: u64,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Timings {
    /// Begins to listen, if somebody wants to know. To be called first.
    pub(crate) fn wanted() -> Option<Self> {
        std::env::var_os(VARIABLE).filter(|value| !value.is_empty())?;
        let begun_us = now_us();
        let steps: Arc<Mutex<Vec<Step>>> = Arc::default();
        let heard = Arc::clone(&steps);
        timings::listen(move |step| {
            heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(step);
        });
        Some(Self { begun_us, steps })
    }

    /// Prints them in the order of their times. Not as they come: a terminal costs more than a step.
    pub(crate) fn print(&self) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.sort_by_key(|step| step.at_us);
        let mut before_us = self.begun_us;
        for step in steps.drain(..) {
            say(&line(&step, self.begun_us, before_us));
            before_us = step.at_us;
        }
    }
}

/// `[time] at_ms=12.345 took_ms=1.234 room=shim step=QEMU started`: the step's name is the rest.
fn line(step: &Step, begun_us: u64, before_us: u64) -> String {
    let ms = |since: u64| step.at_us.saturating_sub(since) as f64 / 1000.0;
    format!(
        "[time] at_ms={:.3} took_ms={:.3} room={} step={}",
        ms(begun_us),
        ms(before_us),
        step.component,
        step.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_from_the_beginning_and_from_the_step_before() {
        let step = Step {
            component: "shim".into(),
            name: "QEMU started".into(),
            at_us: 14_500,
        };
        assert_eq!(
            line(&step, 1_000, 12_250),
            "[time] at_ms=13.500 took_ms=2.250 room=shim step=QEMU started"
        );
    }
}
