use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::workspace_file_list::{FileEntry, report_entries};
use crate::values::{MaxEntries, WORKSPACE_PATH};
use crate::{
    Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text,
    report::{plain, yes_no},
};

/// List files on the disk of a stopped workspace, without starting it
///
/// Any path of the guest, not only `/workspace`. For a running workspace use
/// `workspace_file_list`, or stop it first.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceDiskList {
    /// Workspace id or name
    pub workspace_id: String,
    /// A path in the guest; below `/workspace` if relative. A file or link lists itself
    #[arg(default_value = WORKSPACE_PATH)]
    #[serde(default = "workspace_path")]
    pub path: String,
    /// Also list subfolders
    #[arg(long)]
    #[serde(default)]
    pub recursive: bool,
    /// How many entries to show; by default all, over MCP 32 KiB
    #[arg(long)]
    #[serde(default)]
    pub max_entries: Option<MaxEntries>,
    /// How many entries to skip
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub skip: u64,
}

fn workspace_path() -> String {
    WORKSPACE_PATH.to_owned()
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DiskListing {
    pub workspace_id: String,
    /// Absolute, as requested.
    pub path: String,
    pub recursive: bool,
    /// Sorted by path.
    pub entries: Vec<FileEntry>,
    /// How many entries there are, shown or not.
    pub total_entries: u64,
    /// Whether there are more behind what is shown.
    pub truncated: bool,
    /// The `skip` that continues there.
    pub next_skip: Option<u64>,
}

impl Report for DiskListing {
    fn report(&self, text: &mut Text) {
        text.out(format!(
            "Workspace disk path: {} (recursive={})",
            plain(&self.path),
            yes_no(self.recursive)
        ));
        report_entries(
            text,
            "workspace-disk-list",
            &self.entries,
            self.total_entries,
            self.next_skip,
        );
    }
}

impl Operation for WorkspaceDiskList {
    type Output = DiskListing;

    const NAMES: Names = Names {
        operation: "workspace_disk_list",
        cli: Some(Cli {
            path: &["workspace", "disk", "list"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_disk_list",
            "List files of a stopped disk",
            Profile::WorkspaceFull,
            Effect::Reads,
        )),
        sdk: Some("list_workspace_disk"),
    };
}
