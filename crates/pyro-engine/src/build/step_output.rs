//! What a step says: shown to whoever builds, on standard error, as the result is what was built; its end is kept.

use std::sync::{Arc, Mutex, PoisonError};

use pyro_api::{Caller, Disconnected, Event, EventSink, Stream};

use crate::machine::output::LastWords;

/// How many lines of it an error repeats.
const LINES: usize = 20;

pub(super) struct StepOutput {
    caller: Caller,
    last: Mutex<LastWords>,
}

impl StepOutput {
    pub(super) fn new(caller: &Caller) -> Arc<Self> {
        Arc::new(Self {
            caller: caller.clone(),
            last: Mutex::default(),
        })
    }

    /// The end of what was said.
    pub(super) fn end(&self) -> String {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let text = std::mem::take(&mut *last).into_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl EventSink for StepOutput {
    fn event(&self, event: Event<'_>) -> Result<(), Disconnected> {
        let Event::Output { bytes, .. } = event else {
            return self.caller.emit(event);
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.push(bytes);
        drop(last);
        self.caller.emit(Event::Output {
            stream: Stream::Stderr,
            bytes,
        })
    }
}
