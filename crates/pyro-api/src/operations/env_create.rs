use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::Environment;
use crate::{Cli, JsonFlag, Names, Operation, Report, Text};

/// Keep the disk of a workspace as an environment that others start from
///
/// It holds the whole disk: installed packages, and what is in `/workspace`. Nothing is copied, the
/// workspace goes on, and what is written to it later is not part of it. Processes, secrets and
/// shells never are. Start from it by its name.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct EnvCreate {
    /// A new name, such as `app`, `team/app` or `app:1.0`
    pub environment: String,
    /// Workspace id or name
    #[arg(long = "from-workspace", value_name = "WORKSPACE")]
    pub workspace_id: String,
    /// Keep this snapshot (or `baseline`), and not the present state
    #[arg(long)]
    #[serde(default)]
    pub snapshot: Option<String>,
    /// Take the place of an environment that was kept under this name
    #[arg(long)]
    #[serde(default)]
    pub replace: bool,
}

/// An environment that was made.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct KeptEnvironment {
    #[serde(flatten)]
    pub environment: Environment,
}

impl Report for KeptEnvironment {
    fn report(&self, text: &mut Text) {
        self.environment.report_as("Created", text);
    }
}

impl Operation for EnvCreate {
    type Output = KeptEnvironment;

    const NAMES: Names = Names {
        operation: "env_create",
        cli: Some(Cli {
            path: &["env", "create"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: Some("create_environment"),
    };
}
