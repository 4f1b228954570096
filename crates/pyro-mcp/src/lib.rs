//! The contract as tools of the Model Context Protocol, over standard input and output.
//!
//! ```text
//! stdio ─▶ transport ─▶ rmcp ─▶ server ─▶ tools ─▶ the engine's handler of the operation
//!  bytes     messages            calls      │ arguments: checked against the schema
//!                                           │ progress: events become notifications
//!                                           ▼ answer: facts, and a text for people
//! ```
//!
//! The only crate that knows rmcp. It walks the list of operations and names none of them: a
//! tool's name, title, profile and effect are part of the declaration, its description is the
//! declaration's doc comment, its schemas are those of the declared types.
//!
//! Deliberately absent: HTTP, prompts, resources, sampling and tasks; any state between two
//! calls, which all lives in the engine's records; what an operation does.

mod access;
mod answer;
mod answer_within;
mod in_process;
mod progress;
mod server;
mod stdio;
mod tools;
mod transport;

pub use in_process::InProcess;
pub use server::{Ended, Settings, serve};
pub use stdio::Stdio;

/// How much of each output stream an answer holds, in bytes, head and tail together: some eight
/// thousand words of a model's attention for both.
const KEPT_OUTPUT: usize = 32 * 1024;
