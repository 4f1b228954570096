use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::Environment;
use crate::{Cli, JsonFlag, Names, Operation, Report, Text};

/// Install an environment, or verify and repair an installed one
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct EnvPull {
    /// The environment, such as `debian:12`
    pub environment: String,
}

/// An environment that is now installed.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PulledEnvironment {
    #[serde(flatten)]
    pub environment: Environment,
    pub kernel_image: String,
    pub rootfs_image: String,
    /// Where the content came from.
    pub source: String,
}

impl Report for PulledEnvironment {
    fn report(&self, text: &mut Text) {
        self.environment.report_as("Pulled", text);
        text.field("Kernel image", &self.kernel_image);
        text.field("Rootfs image", &self.rootfs_image);
        text.field("Source", &self.source);
    }
}

impl Operation for EnvPull {
    type Output = PulledEnvironment;

    const NAMES: Names = Names {
        operation: "env_pull",
        cli: Some(Cli {
            path: &["env", "pull"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: Some("pull_environment"),
    };
}
