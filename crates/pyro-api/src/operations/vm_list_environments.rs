use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::Environment;
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// List the environments that VMs can start from
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct VmListEnvironments {}

/// The catalog.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Environments {
    pub catalog_version: String,
    /// Sorted by name.
    pub environments: Vec<Environment>,
}

impl Report for Environments {
    fn report(&self, text: &mut Text) {
        text.out(format!("Catalog version: {}", self.catalog_version));
        for environment in &self.environments {
            let state = match (environment.installed, &environment.problem) {
                (_, Some(_)) => "damaged",
                (true, None) => "installed",
                (false, None) => "not installed",
            };
            let facts = match (environment.disk_bytes, &environment.created_at) {
                (Some(bytes), Some(made)) => {
                    let day = made.split('T').next().unwrap_or_default();
                    format!(" ({} MiB, {day})", bytes.div_ceil(1 << 20))
                }
                _ => String::new(),
            };
            text.out(format!(
                "{} [{state}] {}{facts}",
                environment.name, environment.description
            ));
        }
    }
}

impl Operation for VmListEnvironments {
    type Output = Environments;

    const NAMES: Names = Names {
        operation: "vm_list_environments",
        cli: Some(Cli {
            path: &["env", "list"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(
            Mcp::new(
                "vm_list_environments",
                "List environments",
                Profile::WorkspaceFull,
                Effect::Reads,
            )
            .list("environments"),
        ),
        sdk: Some("list_environments"),
    };
}
