//! The surfaces of pyro behind one trait, so that a scenario is written once.

pub mod cli;
pub mod engine;
pub mod mcp;

use serde_json::Value;

/// A surface: calls an operation by its name and arguments, as the contract has them.
pub trait Surface {
    /// The result, or the error as the contract shows it.
    fn call(&self, operation: &str, arguments: Value) -> Result<Value, Value>;
}
