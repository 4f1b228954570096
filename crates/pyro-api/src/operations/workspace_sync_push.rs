use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ExecutionMode, LeftOut, SeedMode, WORKSPACE_PATH};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

use std::path::PathBuf;

/// Copy a folder or archive of this host into a workspace
///
/// Replaces existing files, deletes nothing, and is applied completely or not at all. Only what
/// differs is transferred.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceSyncPush {
    /// Workspace id or name
    pub workspace_id: String,
    /// A folder or archive of this host, as for a seed
    pub source_path: PathBuf,
    /// A folder below `/workspace`, created if missing
    #[arg(long, default_value = WORKSPACE_PATH)]
    #[serde(default = "workspace_path")]
    pub dest: String,
    /// More patterns to leave out, as in `.gitignore`; `!PATTERN` includes again. Later pushes
    /// remember them
    #[arg(long, value_name = "PATTERN")]
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Whether to leave out what git ignores in the source; by default as last time
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(default)]
    pub gitignore: Option<bool>,
}

fn workspace_path() -> String {
    WORKSPACE_PATH.to_owned()
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Pushed {
    pub workspace_id: String,
    pub execution_mode: ExecutionMode,
    pub workspace_sync: WorkspaceSync,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct WorkspaceSync {
    pub mode: SeedMode,
    /// Absolute, with links resolved.
    pub source_path: String,
    pub destination: String,
    /// Files, folders and links of the source.
    pub entry_count: u64,
    /// Bytes of its regular files.
    pub bytes_written: u64,
    /// How many of the entries differed and travelled.
    pub changed_count: u64,
    pub changed_bytes: u64,
    pub left_out: LeftOut,
    /// What was copied differently than one may expect.
    pub notes: Vec<String>,
}

impl Report for Pushed {
    fn report(&self, text: &mut Text) {
        let sync = &self.workspace_sync;
        if sync.left_out.entry_count > 0 {
            text.err(format!("[workspace-sync] left out {}", sync.left_out));
        }
        for note in &sync.notes {
            text.err(format!("[workspace-sync] {note}"));
        }
        text.out(format!(
            "[workspace-sync] workspace_id={} mode={} source={} destination={} entry_count={} \
             bytes_written={} changed_count={} execution_mode={}",
            self.workspace_id,
            sync.mode,
            sync.source_path,
            sync.destination,
            sync.entry_count,
            sync.bytes_written,
            sync.changed_count,
            self.execution_mode
        ));
    }
}

impl Operation for WorkspaceSyncPush {
    type Output = Pushed;

    const NAMES: Names = Names {
        operation: "workspace_sync_push",
        cli: Some(Cli {
            path: &["workspace", "sync", "push"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(
            Mcp::new(
                "workspace_sync_push",
                "Copy host files in",
                Profile::WorkspaceCore,
                Effect::Changes,
            )
            .only_full(&["exclude", "gitignore"]),
        ),
        sdk: Some("push_workspace_sync"),
    };
}
