use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::plain;
use crate::values::ServiceRecord;
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// List the services of a workspace, running or ended
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ServiceList {
    /// Its id, a beginning of it, or its name, where no other has the same
    pub workspace_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ServicesListed {
    pub workspace_id: String,
    pub count: usize,
    pub running_count: usize,
    /// By name.
    pub services: Vec<ServiceRecord>,
}

impl Report for ServicesListed {
    fn report(&self, text: &mut Text) {
        if self.services.is_empty() {
            text.out("No services.");
        }
        for service in &self.services {
            let published = match service.published_ports.is_empty() {
                true => String::new(),
                false => format!(" published={}", service.ports()),
            };
            text.out(format!(
                "{} [{}] cwd={}{published}",
                service.service_name,
                service.state,
                plain(&service.cwd)
            ));
        }
    }
}

impl Operation for ServiceList {
    type Output = ServicesListed;

    const NAMES: Names = Names {
        operation: "service_list",
        cli: Some(Cli {
            path: &["workspace", "service", "list"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "service_list",
            "List services",
            Profile::WorkspaceFull,
            Effect::Reads,
        )),
        sdk: Some("list_services"),
    };
}
