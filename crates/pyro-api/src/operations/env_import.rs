use schemars::JsonSchema;
use serde::Deserialize;

use super::env_create::KeptEnvironment;
use crate::{Cli, JsonFlag, Names, Operation};

/// Keep an image of a file under a name of your own
///
/// The file is not needed any more afterwards.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct EnvImport {
    /// A new name, such as `app`, `team/app` or `app:1.0`
    pub environment: String,
    /// A file of `pyro env export`, `docker save`, `podman save` or `skopeo`, the folder of an OCI
    /// layout, or an image that is named as elsewhere: `docker-archive:FILE:NAME`
    #[arg(value_name = "FILE")]
    pub source: String,
    /// Take the place of an environment that was kept under this name
    #[arg(long)]
    #[serde(default)]
    pub replace: bool,
}

impl Operation for EnvImport {
    type Output = KeptEnvironment;

    const NAMES: Names = Names {
        operation: "env_import",
        cli: Some(Cli {
            path: &["env", "import"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: Some("import_environment"),
    };
}
