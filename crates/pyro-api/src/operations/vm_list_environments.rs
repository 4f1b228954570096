use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::Environment;
use crate::{Cli, JsonFlag, Names, Operation, Report, Text};

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
            text.out(format!(
                "{} [{state}] {}",
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
        }),
        mcp: Some("vm_list_environments"),
        sdk: Some("list_environments"),
    };
}
