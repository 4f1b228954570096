//! What an operation is, and how the surfaces call it.

use std::future::Future;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Caller, Error, Report};

/// One thing that pyro can do. The type's fields are its arguments on every surface.
pub trait Operation:
    clap::Args + DeserializeOwned + JsonSchema + Send + Sync + Sized + 'static
{
    type Output: Serialize + JsonSchema + Report + Send + Sync + 'static;

    const NAMES: Names;

    /// Rules across fields. Rules on one value live in that value's own parser.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Carries out one operation.
pub trait Handle<O: Operation> {
    /// Dropping the future cancels the operation: what it started ends, what it half made goes.
    fn handle(
        &self,
        operation: O,
        caller: &Caller,
    ) -> impl Future<Output = Result<O::Output, Error>> + Send;
}

/// What the operation is called on each surface. Absent means that it is not offered there.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The operation's own name, noun and verb.
    pub operation: &'static str,
    pub cli: Option<Cli>,
    pub mcp: Option<&'static str>,
    pub sdk: Option<&'static str>,
}

/// Where the operation stands in the command line's tree.
#[derive(Clone, Copy, Debug)]
pub struct Cli {
    pub path: &'static [&'static str],
    pub json: JsonFlag,
}

/// How a command answers in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonFlag {
    /// With `--json`.
    Offered,
    /// Always.
    Implied,
}
