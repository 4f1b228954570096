//! The agent as an ordinary process, driven over its real protocol.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod agent;
mod ends;
mod groups;
mod starts;
mod streams;
