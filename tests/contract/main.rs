//! The declared operations against the copies of the public contract in `contract/`: what is
//! built must be as the contract says, and what is not built must be named here.

mod cli;
mod parameters;
mod results;

use serde_json::Value;

/// One file of the contract.
fn contract(name: &str) -> Value {
    let path = format!("{}/../contract/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}
