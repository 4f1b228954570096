use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ServiceName, ServiceRecord};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Show whether a service of a workspace runs and is ready, or how it ended
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ServiceStatus {
    /// Workspace id or name
    pub workspace_id: String,
    /// The service's name
    pub service_name: ServiceName,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct ServiceShown(pub ServiceRecord);

impl Report for ServiceShown {
    fn report(&self, text: &mut Text) {
        self.0.report_as("status", text);
    }
}

impl Operation for ServiceStatus {
    type Output = ServiceShown;

    const NAMES: Names = Names {
        operation: "service_status",
        cli: Some(Cli {
            path: &["workspace", "service", "status"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "service_status",
            "Service status",
            Profile::WorkspaceFull,
            Effect::Reads,
        )),
        sdk: Some("status_service"),
    };
}
