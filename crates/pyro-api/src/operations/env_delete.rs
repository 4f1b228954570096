use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cli, JsonFlag, Names, Operation, Report, Text};

/// Remove an environment from this host
///
/// Workspaces that were made from it go on: they have names of their own for the files that they
/// stand on, and that space is free when they are deleted.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct EnvDelete {
    /// The environment, such as `app` or `oci-archive:app.tar`
    pub environment: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeletedEnvironment {
    pub environment: String,
    /// Disk space that was freed, in bytes; none of what others still stand on.
    pub freed_bytes: u64,
}

impl Report for DeletedEnvironment {
    fn report(&self, text: &mut Text) {
        text.field("Deleted", &self.environment);
        let mib = self.freed_bytes as f64 / 1048576.0;
        text.field("Freed", format!("{mib:.1} MiB"));
    }
}

impl Operation for EnvDelete {
    type Output = DeletedEnvironment;

    const NAMES: Names = Names {
        operation: "env_delete",
        cli: Some(Cli {
            path: &["env", "delete"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: Some("delete_environment"),
    };
}
