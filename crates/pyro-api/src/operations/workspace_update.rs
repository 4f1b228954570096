use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{LabelKey, Labels, WorkspaceName, WorkspaceRecord};
use crate::{Cli, Effect, Error, JsonFlag, Mcp, Names, Operation, Profile};

/// Change the name and the labels of a workspace
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceUpdate {
    /// Workspace id or name
    pub workspace_id: String,
    /// The new name
    #[arg(long)]
    #[serde(default)]
    pub name: Option<WorkspaceName>,
    /// Remove the name
    #[arg(long)]
    #[serde(default)]
    pub clear_name: bool,
    /// Labels to set, as key and value; others are kept
    #[command(flatten)]
    #[serde(default)]
    pub labels: Labels,
    /// Keys of labels to remove
    #[arg(long = "clear-label", value_name = "KEY")]
    #[serde(default)]
    pub clear_labels: Vec<LabelKey>,
}

impl Operation for WorkspaceUpdate {
    type Output = WorkspaceRecord;

    const NAMES: Names = Names {
        operation: "workspace_update",
        cli: Some(Cli {
            path: &["workspace", "update"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_update",
            "Rename or label workspace",
            Profile::WorkspaceCore,
            Effect::Sets,
        )),
        sdk: Some("update_workspace"),
    };

    fn check(&self) -> Result<(), Error> {
        if self.name.is_some() && self.clear_name {
            return Err(Error::invalid("A name cannot be set and removed at once")
                .hint("Give `name` or `clear_name`, not both"));
        }
        let nothing = self.name.is_none()
            && !self.clear_name
            && self.labels.is_empty()
            && self.clear_labels.is_empty();
        if nothing {
            return Err(Error::invalid("There is nothing to update")
                .hint("Give a name, labels, or what to clear"));
        }
        Ok(())
    }
}
