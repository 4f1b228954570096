use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cli, JsonFlag, Names, Operation, Report, Text};

/// Remove what the cache no longer needs: other versions, damaged and incomplete images
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct EnvPrune {}

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pruned {
    /// Names of the removed entries, sorted.
    pub deleted_environment_dirs: Vec<String>,
    pub count: usize,
    /// Disk space that was freed, in bytes.
    pub freed_bytes: u64,
}

impl Report for Pruned {
    fn report(&self, text: &mut Text) {
        let entries = if self.count == 1 { "entry" } else { "entries" };
        text.out(format!(
            "Deleted {} cached environment {entries}.",
            self.count
        ));
        text.out(format!(
            "Freed: {:.1} MiB",
            self.freed_bytes as f64 / 1048576.0
        ));
    }
}

impl Operation for EnvPrune {
    type Output = Pruned;

    const NAMES: Names = Names {
        operation: "env_prune",
        cli: Some(Cli {
            path: &["env", "prune"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: Some("prune_environments"),
    };
}
