//! When the steps of an operation were reached, for whoever wants to know where its time goes.

use pyro_wire::step::Listener;
pub use pyro_wire::step::{Step, now_us};

/// The room that the steps of this process are told as.
const ROOM: &str = "engine";

/// Hands every step of this process, and of supervisors and agents that it waits for, to `hear`: for
/// as long as the process lives, and unless somebody listens to its `tracing` events already. Steps
/// of others come when those tell them, so not all are in the order of their times.
pub fn listen(hear: impl Fn(Step) + Send + Sync + 'static) {
    Listener::new(ROOM, hear).install();
}

/// Tells a step of the program that this library is part of.
pub fn reached(name: &str) {
    pyro_wire::reached!(name);
}
