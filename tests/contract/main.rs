//! The declared operations against the copies of the public contract in `contract/`: what is
//! built must be as the contract says, and what is not built must be named here.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod cli;
mod mcp;
mod page;
mod parameters;
mod results;

use serde_json::Value;

/// One file of the contract.
fn contract(name: &str) -> Value {
    let path = format!("{}/../contract/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The team's originals lie beside the checkout where there is a team; elsewhere the copies are
/// all there is, and there is nothing to compare.
#[test]
fn the_copies_are_those_of_the_team() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for name in ["cli.json", "mcp-tools.json", "payloads.json", "sdk.json"] {
        let Ok(original) = std::fs::read(format!("{root}/../shared/contract/{name}")) else {
            continue;
        };
        let copy = std::fs::read(format!("{root}/contract/{name}")).unwrap();
        assert!(
            copy == original,
            "contract/{name} differs from the team's original"
        );
    }
}
