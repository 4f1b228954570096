use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::ExecResult;
use crate::{Cli, JsonFlag, Names, Operation};

/// Run `git --version` in a fresh `debian:12` VM and print the result as JSON
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Demo {
    /// Probe the internet from the guest instead
    #[arg(long)]
    #[serde(default)]
    pub network: bool,
}

impl Operation for Demo {
    type Output = ExecResult;

    const NAMES: Names = Names {
        operation: "demo",
        cli: Some(Cli {
            path: &["demo"],
            json: JsonFlag::Implied,
            only: None,
        }),
        mcp: None,
        sdk: None,
    };
}
