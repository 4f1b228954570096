//! What engine, shim and guest agent say to each other, and nothing about how they act on it.
//!
//! ```text
//! engine ──launch file──▶ shim                      [`launch`]  all that a shim ever learns
//! engine ──template file──▶ shim                    [`template`] how to save a frozen guest
//! engine ◀──event pipe─── shim                      [`launch`]  ready, failed, ended
//! engine ──unix socket──▶ shim                      [`shim`]    status, stop, a line to the agent
//!                                                   [`jobs`]    commands that outlive their callers
//! shim ══one byte channel══ agent                   [`session`] greeting, then many streams
//! engine ──────one stream (bridged)──────▶ agent    [`agent`]   set up, ping, freeze, shut down
//!                                                   [`exec`]    run a command
//!                                                   [`files`]   list, read, change, export, diff
//!                                                   [`service`] services, connections to ports
//!                                                   [`secrets`] what its commands may know
//!                                                   [`shells`]  open, read, write, attach, close
//! ```
//!
//! [`redaction`] takes secrets out of what comes back; [`repositories`] finds those of git; [`sparse`] is how archives of files keep holes.
//!
//! A stream carries [`frame`]s: CBOR messages, which tolerate fields they do not know, and raw
//! bytes. On one that leads to a port of the guest a TCP [`connection`] travels after the first
//! messages. A VM outlives the pyro that started it, so a newer engine must be able to talk to an
//! older shim and agent: add fields with defaults, never change the meaning of one, and raise
//! [`PROTOCOL`] when that cannot be kept.

pub mod agent;
pub mod connection;
pub mod exec;
pub mod fault;
pub mod files;
pub mod frame;
pub mod jail;
pub mod jobs;
pub mod launch;
pub mod network;
pub mod redaction;
pub mod repositories;
pub mod secrets;
pub mod service;
pub mod session;
pub mod shells;
pub mod shim;
pub mod sparse;
pub mod step;
mod stream;
pub mod template;
pub mod user;

/// The version of everything in this crate, exchanged in every greeting.
pub const PROTOCOL: u32 = 2;

/// Bytes that are not necessarily UTF-8: arguments, paths and variables of a guest.
pub type Bytes = serde_bytes::ByteBuf;
