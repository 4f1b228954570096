use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ServiceName, ServiceRecord};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Stop a service of a workspace, with everything that it started
///
/// It gets SIGTERM, and after five seconds what is left of it is killed. A service that has ended is
/// left as it is.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ServiceStop {
    /// Workspace id or name
    pub workspace_id: String,
    /// The service's name
    pub service_name: ServiceName,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct ServiceStopped(pub ServiceRecord);

impl Report for ServiceStopped {
    fn report(&self, text: &mut Text) {
        self.0.report_as("stop", text);
    }
}

impl Operation for ServiceStop {
    type Output = ServiceStopped;

    const NAMES: Names = Names {
        operation: "service_stop",
        cli: Some(Cli {
            path: &["workspace", "service", "stop"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "service_stop",
            "Stop service",
            Profile::WorkspaceFull,
            Effect::Sets,
        )),
        sdk: Some("stop_service"),
    };
}
