use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ArtifactType, PatchBytes};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text, report::plain};

/// Show what changed in `/workspace` since the workspace was created
///
/// Names every file that was added, modified, deleted or changed its type, with a unified diff
/// where both sides are text. The diff applies with `git apply`, `patch -p1` and
/// `workspace_patch_apply`.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceDiff {
    /// Its id or its name
    pub workspace_id: String,
    /// How many bytes of diffs to show; 1048576, for a model 24576 and 32 KiB of entries
    #[arg(long)]
    #[serde(default)]
    pub max_bytes: Option<PatchBytes>,
    /// How many changed files to leave out first
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub skip: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Differences {
    pub workspace_id: String,
    pub changed: bool,
    /// Of all that changed, shown or not.
    pub summary: DiffSummary,
    /// Sorted by path.
    pub entries: Vec<DiffEntry>,
    /// The text patches of the entries, one after the other.
    pub patch: String,
    /// Whether text patches were left out: of these entries, or of those behind them.
    pub patch_truncated: bool,
    /// With what `skip` the entries begin that are behind these.
    pub next_skip: Option<u64>,
    /// Sockets, devices and FIFOs, which are not compared.
    pub skipped: Vec<String>,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct DiffSummary {
    pub total: u64,
    pub added: u64,
    pub modified: u64,
    pub deleted: u64,
    pub type_changed: u64,
    pub text_patched: u64,
    pub non_text: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum DiffStatus {
    Added,
    Modified,
    Deleted,
    TypeChanged,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct DiffEntry {
    /// Relative to `/workspace`.
    pub path: String,
    pub status: DiffStatus,
    /// What it is now; for what was deleted, what it was.
    pub artifact_type: ArtifactType,
    /// A unified diff, where both sides are text and it was not left out; a model finds it in `patch`
    /// alone.
    pub text_patch: Option<String>,
    /// Why there is no text patch: `binary`, `too_large`, `limit` (of this call) or `not_a_file`.
    pub no_patch_because: Option<String>,
    /// Permission bits in octal, where they changed.
    pub old_mode: Option<String>,
    pub new_mode: Option<String>,
    pub old_size_bytes: Option<u64>,
    pub new_size_bytes: Option<u64>,
}

impl Report for Differences {
    fn report(&self, text: &mut Text) {
        for skipped in &self.skipped {
            text.err(format!("[workspace-diff] not compared: {skipped}"));
        }
        if !self.changed {
            text.out("No workspace changes.");
            return;
        }
        let summary = &self.summary;
        text.out(format!(
            "[workspace-diff] workspace_id={} total={} added={} modified={} deleted={} \
             type_changed={} text_patched={} non_text={}",
            self.workspace_id,
            summary.total,
            summary.added,
            summary.modified,
            summary.deleted,
            summary.type_changed,
            summary.text_patched,
            summary.non_text
        ));
        text.out.push_str(&self.patch);
        for entry in &self.entries {
            if let Some(why) = &entry.no_patch_because {
                text.err(format!(
                    "[workspace-diff] no text diff ({why}): {}",
                    plain(&entry.path)
                ));
            }
        }
        if let Some(next) = self.next_skip {
            text.err(format!(
                "[workspace-diff] {} of {} changed files shown; go on with --skip {next}",
                self.entries.len(),
                summary.total
            ));
        }
    }

    fn only(&self) -> Vec<u8> {
        self.patch.clone().into_bytes()
    }
}

impl Operation for WorkspaceDiff {
    type Output = Differences;

    const NAMES: Names = Names {
        operation: "workspace_diff",
        cli: Some(Cli {
            path: &["workspace", "diff"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_diff",
            "Show changes",
            Profile::WorkspaceCore,
            Effect::Reads,
        )),
        sdk: Some("diff_workspace"),
    };
}
