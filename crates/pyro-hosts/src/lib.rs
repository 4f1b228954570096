//! The one entry for pyro in the configuration of a program that speaks the Model Context Protocol.
//!
//! ```text
//! host ─▶ config_file ─▶ document (json, toml) ─▶ entry ─▶ save
//! which    where its     the file, kept as        what     a backup, then
//! program  file is       its owner wrote it       we add   one rename
//!
//! connect: all of it    doctor: looks, and starts what the entry says (probe)
//! print_config: no file    repair: doctor, then connect where that helps
//! disconnect: the way back, in all files of a host or of all hosts
//! ```
//!
//! It changes nothing but pyro's own entry, and inside of it only what starts the server: timeouts
//! and permissions that somebody added stay.
//!
//! The files are edited, and the hosts' own commands (`claude mcp add`, `codex mcp add`) are not
//! used: some of the hosts have none, and those that exist neither show beforehand what they will
//! do nor keep a backup; and a host that is not installed yet could not be prepared.
//!
//! Deliberately absent: how arguments are read and results are printed; operations of the contract;
//! what the server does once it runs.

mod config_file;
mod connect;
mod context;
mod diff;
mod disconnect;
mod doctor;
mod document;
mod document_error;
mod entry;
mod entry_path;
mod error;
mod host;
mod json;
mod launch;
mod options;
mod print;
mod probe;
mod repair;
mod save;
mod toml;

pub use config_file::Scope;
pub use connect::{Connected, Outcome, connect};
pub use context::Context;
pub use disconnect::{Disconnected, Removed, disconnect, disconnect_all};
pub use doctor::{Diagnosis, doctor};
pub use entry::{Entry, Field};
pub use error::HostError;
pub use host::{Format, HOSTS, Host, find};
pub use options::Options;
pub use print::{Printed, print_config};
pub use repair::{Repaired, repair};
