//! The agent as an ordinary process, driven over its real protocol.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod agent;
mod changes;
mod conflicts;
mod crashes;
mod diffs;
mod ends;
mod exports;
mod files;
mod groups;
mod looks;
mod services;
mod shells;
mod starts;
mod streams;
