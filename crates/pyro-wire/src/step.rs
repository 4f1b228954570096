//! When things happened, so that people can see where the time of a run goes.
//!
//! Engine and shim tell a step as a `tracing` event for [`TARGET`], which costs next to nothing while
//! nobody listens. A [`Listener`] stamps the steps of its own process; those of other processes come
//! with their time, in the fields `component` and `at_us`. All times are of the host's monotonic clock,
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

/// The name of the agent as a [`Step::component`].
pub const AGENT: &str = "agent";

/// Something that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Who reached it.
    pub component: String,
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
            component: AGENT.to_owned(),
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

/// Tells a step of this process.
#[macro_export]
macro_rules! reached {
    ($name:expr) => {
        ::tracing::debug!(target: $crate::step::TARGET, "{}", $name)
    };
}

/// Whether anybody listens.
pub fn is_enabled() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
}

/// Tells a step of another process again, with its own time.
pub fn forward(step: &Step) {
    let (component, at_us) = (step.component.as_str(), step.at_us);
    tracing::debug!(target: TARGET, component, at_us, "{}", step.name);
}

/// Hands every step to a function.
pub struct Listener<F> {
    component: &'static str,
    on_step: F,
}

impl<F: Fn(Step) + Send + Sync + 'static> Listener<F> {
    /// `component` is what this process is a part of pyro as.
    pub fn new(component: &'static str, on_step: F) -> Self {
        Self { component, on_step }
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
            component: self.component.to_owned(),
            name: String::new(),
            at_us: now_us(),
        };
        event.record(&mut Fields(&mut step));
        (self.on_step)(step);
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
        if field.name() == "component" {
            value.clone_into(&mut self.0.component);
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
            component: "there".into(),
            name: "far away".into(),
            at_us: 7,
        };
        tracing::subscriber::with_default(listener, || {
            assert!(is_enabled());
            crate::reached!("a step");
            forward(&foreign);
            tracing::info!("something else");
        });
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 2);
        assert_eq!((&*heard[0].component, &*heard[0].name), ("here", "a step"));
        assert!((before..=now_us()).contains(&heard[0].at_us));
        assert_eq!(heard[1], foreign);
    }
}
