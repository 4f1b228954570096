use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::plain;
use crate::values::ServiceRecord;
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// List the services of a workspace, running or ended
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ServiceList {
    /// Workspace id or name
    pub workspace_id: String,
    /// How many services to skip; MCP returns at most 32 KiB of them
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub skip: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ServicesListed {
    pub workspace_id: String,
    /// How many are shown here.
    pub count: usize,
    /// How many there are.
    pub total: usize,
    /// The `skip` that continues behind them.
    pub next_skip: Option<u64>,
    /// How many of them all are running.
    pub running_count: usize,
    /// By name.
    pub services: Vec<ServiceRecord>,
}

impl Report for ServicesListed {
    fn report(&self, text: &mut Text) {
        if self.total == 0 {
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
        if let Some(next) = self.next_skip {
            text.err(format!(
                "[workspace-service-list] {} of {} services shown; continue with --skip {next}",
                self.count, self.total
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
