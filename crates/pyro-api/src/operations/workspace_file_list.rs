use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ArtifactType, ExecutionMode, MaxEntries, WORKSPACE_PATH};
use crate::{
    Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text,
    report::{plain, yes_no},
};

/// List files of a workspace
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceFileList {
    /// Workspace id or name
    pub workspace_id: String,
    /// A path below `/workspace`; a file or link lists itself
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
pub struct FileListing {
    pub workspace_id: String,
    pub path: String,
    pub recursive: bool,
    /// Each folder sorted by name, what is in a folder right after it.
    pub entries: Vec<FileEntry>,
    /// How many entries there are, shown or not.
    pub total_entries: u64,
    /// Whether there are more behind what is shown.
    pub truncated: bool,
    /// The `skip` that continues there.
    pub next_skip: Option<u64>,
    pub execution_mode: ExecutionMode,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct FileEntry {
    /// Absolute in the guest; bytes that are not UTF-8 are replaced.
    pub path: String,
    pub artifact_type: ArtifactType,
    /// 0 for folders, the length of the target for links.
    pub size_bytes: u64,
    pub link_target: Option<String>,
    /// Permission bits in octal.
    pub mode: String,
    /// Seconds since 1970.
    pub modified_at: f64,
}

/// The entries, and where to go on.
pub(super) fn report_entries(
    text: &mut Text,
    by: &str,
    entries: &[FileEntry],
    total: u64,
    next_skip: Option<u64>,
) {
    for entry in entries {
        entry.report(text);
    }
    if let Some(next) = next_skip {
        let shown = entries.len();
        text.err(format!(
            "[{by}] {shown} of {total} entries shown; for more use --max-entries, or continue with \
             --skip {next}"
        ));
    }
}

impl FileEntry {
    fn report(&self, text: &mut Text) {
        let target = self.link_target.as_ref();
        let target = target
            .map(|target| format!(" -> {}", plain(target)))
            .unwrap_or_default();
        text.out(format!(
            "{} [{}] size={}{target}",
            plain(&self.path),
            self.artifact_type,
            self.size_bytes
        ));
    }
}

impl Report for FileListing {
    fn report(&self, text: &mut Text) {
        text.out(format!(
            "Workspace path: {} (recursive={})",
            plain(&self.path),
            yes_no(self.recursive)
        ));
        report_entries(
            text,
            "workspace-file-list",
            &self.entries,
            self.total_entries,
            self.next_skip,
        );
    }
}

impl Operation for WorkspaceFileList {
    type Output = FileListing;

    const NAMES: Names = Names {
        operation: "workspace_file_list",
        cli: Some(Cli {
            path: &["workspace", "file", "list"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_file_list",
            "List files",
            Profile::WorkspaceCore,
            Effect::Reads,
        )),
        sdk: Some("list_workspace_files"),
    };
}
