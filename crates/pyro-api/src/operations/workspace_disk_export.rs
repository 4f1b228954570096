use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text, report::plain};

/// Copy the whole disk of a stopped workspace to one ext4 image on this host
///
/// The image is sparse and self-contained: it can be mounted, or read with other tools. To copy
/// files use `workspace_export`.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceDiskExport {
    /// Workspace id or name
    pub workspace_id: String,
    /// Where to write on this host; the path must not exist yet
    #[arg(long = "output", value_name = "PATH")]
    pub output_path: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DiskExported {
    pub workspace_id: String,
    /// Absolute.
    pub output_path: String,
    /// Always `ext4`.
    pub disk_format: String,
    /// The length of the image; holes in it take no space.
    pub bytes_written: u64,
}

impl Report for DiskExported {
    fn report(&self, text: &mut Text) {
        text.out(format!(
            "[workspace-disk-export] workspace_id={} output_path={} disk_format={} \
             bytes_written={}",
            self.workspace_id,
            plain(&self.output_path),
            self.disk_format,
            self.bytes_written
        ));
    }
}

impl Operation for WorkspaceDiskExport {
    type Output = DiskExported;

    const NAMES: Names = Names {
        operation: "workspace_disk_export",
        cli: Some(Cli {
            path: &["workspace", "disk", "export"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_disk_export",
            "Copy a stopped disk out",
            Profile::WorkspaceFull,
            Effect::Adds,
        )),
        sdk: Some("export_workspace_disk"),
    };
}
