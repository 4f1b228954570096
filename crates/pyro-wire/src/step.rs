//! When things happened, so that people can see where the time of a run goes.
//!
//! Engine and shim tell a step as a `tracing` event for [`TARGET`], which costs next to nothing while
//! nobody listens. A [`Listener`] stamps the steps of its own process; those of other processes come
//! with their time, in the fields `room` and `at_us`. All times are of the host's monotonic clock,
//! which is one for all processes. An agent has another clock: it tells how long after the request
//! its steps were ([`Lap`]).

use std::fmt;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The target of the events that are steps.
pub const TARGET: &str = "pyro::step";

/// The name of the agent as a [`Step::room`].
pub const AGENT: &str = "agent";

/// Something that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Who reached it.
    pub room: String,
    pub name: String,
    /// Microseconds of the host's monotonic clock.
    pub at_us: u64,
}

/// A step in a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lap {
    pub name: String,
    /// Microseconds since the request arrived.
    pub after_us: u64,
}

impl Lap {
    /// The step, for a request that was sent at this time. What the request took to arrive is lost.
    pub fn since(&self, asked_us: u64) -> Step {
        Step {
            room: AGENT.to_owned(),
            name: self.name.clone(),
            at_us: asked_us.saturating_add(self.after_us),
        }
    }
}

/// The host's monotonic clock, in microseconds.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Says that this room of this process has come so far.
#[macro_export]
macro_rules! reached {
    ($name:expr) => {
        ::tracing::debug!(target: $crate::step::TARGET, "{}", $name)
    };
}

/// Whether anybody listens to steps.
pub fn is_heard() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
}

/// Passes a step of another process on.
pub fn pass_on(step: &Step) {
    let (room, at_us) = (step.room.as_str(), step.at_us);
    tracing::debug!(target: TARGET, room, at_us, "{}", step.name);
}

/// Hands every step to a function, and hears nothing else.
pub struct Listener<F> {
    room: &'static str,
    hear: F,
}

impl<F: Fn(Step) + Send + Sync + 'static> Listener<F> {
    /// `room` is who speaks in this process.
    pub fn new(room: &'static str, hear: F) -> Self {
        Self { room, hear }
    }

    /// Listens for as long as the process lives, unless somebody does already.
    pub fn install(self) {
        let _ = tracing::subscriber::set_global_default(self);
    }
}

impl<F: Fn(Step) + Send + Sync + 'static> Subscriber for Listener<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn event(&self, event: &Event<'_>) {
        let mut step = Step {
            room: self.room.to_owned(),
            name: String::new(),
            at_us: now_us(),
        };
        event.record(&mut Fields(&mut step));
        (self.hear)(step);
    }

    // Steps have no spans.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields<'a>(&'a mut Step);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.name = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "room" {
            value.clone_into(&mut self.0.room);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "at_us" {
            self.0.at_us = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn own_steps_are_stamped_and_those_of_others_kept() {
        let heard: Arc<Mutex<Vec<Step>>> = Arc::default();
        let hearing = Arc::clone(&heard);
        let listener = Listener::new("here", move |step| hearing.lock().unwrap().push(step));
        let before = now_us();
        let foreign = Step {
            room: "there".into(),
            name: "far away".into(),
            at_us: 7,
        };
        tracing::subscriber::with_default(listener, || {
            assert!(is_heard());
            crate::reached!("a step");
            pass_on(&foreign);
            tracing::info!("something else");
        });
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 2);
        assert_eq!((&*heard[0].room, &*heard[0].name), ("here", "a step"));
        assert!((before..=now_us()).contains(&heard[0].at_us));
        assert_eq!(heard[1], foreign);
    }
}
