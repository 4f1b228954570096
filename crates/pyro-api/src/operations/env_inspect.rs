use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::Environment;
use crate::{Cli, JsonFlag, Names, Operation};

/// Show one environment and, if it is installed, verify the digest of its image
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct EnvInspect {
    /// The environment, such as `debian:12`
    pub environment: String,
}

impl Operation for EnvInspect {
    type Output = Environment;

    const NAMES: Names = Names {
        operation: "env_inspect",
        cli: Some(Cli {
            path: &["env", "inspect"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: Some("inspect_environment"),
    };
}
