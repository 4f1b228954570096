use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ArtifactType, ExecutionMode};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

use std::path::PathBuf;

/// Copy a file or folder of a workspace to this host
///
/// Writes nothing outside `output_path`, and follows no link of the guest.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceExport {
    /// Workspace id or name
    pub workspace_id: String,
    /// What to copy: a path below `/workspace`
    pub path: String,
    /// Where to write on this host: a new path, or for a file an existing folder
    #[arg(long = "output", value_name = "PATH")]
    pub output_path: PathBuf,
    /// Replace a file with a file, a folder with a folder
    #[arg(long)]
    #[serde(default)]
    pub overwrite: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Exported {
    pub workspace_id: String,
    pub workspace_path: String,
    /// Absolute.
    pub output_path: String,
    pub artifact_type: ArtifactType,
    /// 1 for a file or link, all that is in it for a folder.
    pub entry_count: u64,
    pub bytes_written: u64,
    pub execution_mode: ExecutionMode,
    /// What could not be copied, with the reason: sockets, devices, names this host refuses.
    pub skipped: Vec<String>,
    /// What came out otherwise than it is in the workspace.
    pub notes: Vec<String>,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
}

impl Report for Exported {
    fn report(&self, text: &mut Text) {
        for skipped in &self.skipped {
            text.err(format!("[workspace-export] skipped {skipped}"));
        }
        for note in &self.notes {
            text.err(format!("[workspace-export] {note}"));
        }
        text.out(format!(
            "[workspace-export] workspace_id={} workspace_path={} output_path={} artifact_type={} \
             entry_count={} bytes_written={} execution_mode={}",
            self.workspace_id,
            self.workspace_path,
            self.output_path,
            self.artifact_type,
            self.entry_count,
            self.bytes_written,
            self.execution_mode
        ));
    }
}

impl Operation for WorkspaceExport {
    type Output = Exported;

    const NAMES: Names = Names {
        operation: "workspace_export",
        cli: Some(Cli {
            path: &["workspace", "export"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_export",
            "Copy files out",
            Profile::WorkspaceCore,
            Effect::Changes,
        )),
        sdk: Some("export_workspace"),
    };
}
