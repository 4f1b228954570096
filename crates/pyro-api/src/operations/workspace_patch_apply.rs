use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ExecutionMode, PatchText};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Apply a patch to the files of a workspace, all of it or nothing
///
/// Takes unified diffs (plain or git's: new, deleted, renamed and binary files, modes) and the
/// `*** Begin Patch` … `*** End Patch` format. Paths are relative to `/workspace`. If a hunk does
/// not apply, the error shows the most similar text of the file.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspacePatchApply {
    /// Workspace id or name
    pub workspace_id: String,
    /// The patch, at most 1048576 bytes
    #[command(flatten)]
    pub patch: PatchText,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Patched {
    pub workspace_id: String,
    pub changed: bool,
    pub format: PatchFormat,
    pub summary: PatchSummary,
    /// Sorted by path.
    pub entries: Vec<PatchEntry>,
    /// The patch, as it was given; what is not UTF-8 is replaced.
    pub patch: String,
    pub execution_mode: ExecutionMode,
    /// Where the patch was not taken exactly: moved hunks, ignored spaces, what was left out.
    pub notes: Vec<String>,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
}

/// The form that the patch was recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum PatchFormat {
    Unified,
    BeginPatch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct PatchSummary {
    pub total: u64,
    pub added: u64,
    pub modified: u64,
    pub deleted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum PatchStatus {
    Added,
    Modified,
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct PatchEntry {
    /// Absolute in the guest.
    pub path: String,
    pub status: PatchStatus,
    /// Where a renamed file was before.
    pub renamed_from: Option<String>,
}

impl Report for Patched {
    fn report(&self, text: &mut Text) {
        for note in &self.notes {
            text.err(format!("[workspace-patch] {note}"));
        }
        let summary = &self.summary;
        text.out(format!(
            "[workspace-patch] workspace_id={} total={} added={} modified={} deleted={} \
             execution_mode={}",
            self.workspace_id,
            summary.total,
            summary.added,
            summary.modified,
            summary.deleted,
            self.execution_mode
        ));
    }
}

impl Operation for WorkspacePatchApply {
    type Output = Patched;

    const NAMES: Names = Names {
        operation: "workspace_patch_apply",
        cli: Some(Cli {
            path: &["workspace", "patch", "apply"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_patch_apply",
            "Apply patch",
            Profile::WorkspaceCore,
            Effect::Changes,
        )),
        sdk: Some("apply_workspace_patch"),
    };
}
