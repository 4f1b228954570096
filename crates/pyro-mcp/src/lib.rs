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

use pyro_api::{HandleAll, Profile};
use serde_json::Value;

pub use in_process::InProcess;
pub use server::{Ended, Settings, serve};
pub use stdio::Stdio;

/// How much of each output stream an answer holds, in bytes, head and tail together: some eight
/// thousand words of a model's attention for both.
const KEPT_OUTPUT: usize = 32 * 1024;

/// The tools of a profile as a client gets to see them, for contract tests and documents.
pub fn tools<E: HandleAll>(profile: Profile) -> serde_json::Result<Vec<Value>> {
    let tools = tools::Tools::<E>::of(profile);
    let offered = tools.offered.iter();
    offered
        .map(|offered| serde_json::to_value(&offered.tool))
        .collect()
}
