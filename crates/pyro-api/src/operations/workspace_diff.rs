mod report;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ArtifactType, PatchBytes};
use crate::{Cli, Effect, Error, JsonFlag, Mcp, Names, Operation, Profile, report::plain};

/// Show what changed in `/workspace` since the workspace was created
///
/// Names every file that changed, with a unified diff where both sides are text, and counts new
/// commits. The diff applies with `git apply`, `patch -p1` and `workspace_patch_apply`.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceDiff {
    /// Workspace id or name
    pub workspace_id: String,
    /// How many bytes of diffs to show; by default 67108864, over MCP 24576 and 32 KiB of entries
    #[arg(long)]
    #[serde(default)]
    pub max_bytes: Option<PatchBytes>,
    /// How many changed files (or commits) to skip
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub skip: u64,
    /// Include binary files, as git binary patches
    #[arg(long)]
    #[serde(default)]
    pub binary: bool,
    /// Prefix of each name in the diff; by default the seed's folder in its repository, over MCP
    /// none
    #[arg(long)]
    #[serde(default)]
    pub prefix: Option<String>,
    /// Show this folder's new commits instead, for
    /// `git am --keep-cr --keep-non-patch --patch-format=mboxrd`
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true, default_missing_value = ".")]
    #[serde(default)]
    pub commits: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Differences {
    pub workspace_id: String,
    pub changed: bool,
    /// Of all that changed, shown or not.
    pub summary: DiffSummary,
    /// Sorted by path; those in a repository's own folder come last.
    pub entries: Vec<DiffEntry>,
    /// The text patches of the entries, one after the other; with `commits` their mailbox.
    pub patch: String,
    /// Whether something that belongs in it was left out for its size, here or after `next_skip`.
    pub patch_truncated: bool,
    /// Whether it holds every change that such a patch can hold: nothing was too large, binary or
    /// skipped. Folders and what lies in a repository's own folder are in none.
    pub patch_complete: bool,
    /// New commits, of each repository that has any.
    pub commits: Vec<CommitsMade>,
    /// How many more have new commits or other objects and were not checked; `commits` checks one.
    pub repositories_left_out: u64,
    /// The `skip` that continues behind these entries (or commits).
    pub next_skip: Option<u64>,
    /// Sockets, devices and FIFOs, which are not compared.
    pub skipped: Vec<String>,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
    /// The bytes of `patch`, for the command line.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// What stands before each name in it, or is to stand there when a mailbox is applied, for the
    /// command line.
    #[serde(skip)]
    pub prefix: String,
    /// Which of all entries the first of these is, for the command line.
    #[serde(skip)]
    pub first: u64,
    /// Commits of a mailbox's range that change nothing, which it leaves out.
    // The schema has no room for what is rare.
    #[schemars(skip)]
    #[serde(skip_serializing_if = "is_none")]
    pub empty_commits: u64,
    /// Whether it is a mailbox, for the command line.
    #[serde(skip)]
    pub is_mailbox: bool,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Commits that no branch had when the workspace was created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct CommitsMade {
    /// The repository's folder below `/workspace`, which is `.` itself.
    pub repository: String,
    /// How many `HEAD` has, without merges.
    pub count: u64,
    /// How many merges it has, which a mailbox cannot hold.
    pub merges: u64,
    /// How many of them `git am` would cut short or refuse, because a line of their message looks
    /// like a patch (`---`, `diff --git`): use `git bundle` for those.
    pub unmailable: u64,
    /// How many other branches have.
    pub elsewhere: u64,
    /// The branch; null for a detached `HEAD`.
    pub branch: Option<String>,
    /// The newest original commit that they are based on; null if there is none.
    pub base: Option<String>,
    /// Whether `HEAD` has lost commits that it had at the beginning (reset, amend, rebase).
    pub rewritten: bool,
    /// First lines, the newest ten, newest first.
    pub subjects: Vec<String>,
    /// Why this is unknown.
    pub unknown_because: Option<String>,
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
    /// Why there is no text patch: `binary`, `too_large`, `limit` (of this call), `not_a_file`,
    /// `repository` (in a repository's own folder) or `mode` (nothing that git tells changed).
    pub no_patch_because: Option<String>,
    /// How many changed objects of a repository this folder represents, over MCP.
    pub stands_for: Option<u64>,
    /// The repository's own folder that it is in, for the command line.
    #[serde(skip)]
    pub own_folder: Option<String>,
    /// Whether its text is not UTF-8; U+FFFD stands for those bytes.
    pub not_utf8: bool,
    /// Permission bits in octal, where they changed.
    pub old_mode: Option<String>,
    pub new_mode: Option<String>,
    pub old_size_bytes: Option<u64>,
    pub new_size_bytes: Option<u64>,
}

impl DiffEntry {
    /// Whether it lies in a repository's own folder, such as `.git`.
    pub fn is_a_repositorys(&self) -> bool {
        self.no_patch_because.as_deref() == Some("repository")
    }
}

impl Differences {
    /// Whether there is more than what looking at a repository leaves in its own folder, as `git
    /// status` does: a change of files, a commit, or something that a reference holds, as a stash is.
    pub fn changes_work(&self) -> bool {
        let is_work = |entry: &DiffEntry| {
            !entry.is_a_repositorys() || entry.path.split('/').any(|part| part == "refs")
        };
        let all_are_here = self.summary.total == self.entries.len() as u64;
        !all_are_here
            || self.entries.iter().any(is_work)
            || self.commits.iter().any(CommitsMade::may_hold_some)
    }
}

impl CommitsMade {
    fn may_hold_some(&self) -> bool {
        let made = self.count + self.merges + self.elsewhere;
        made > 0 || self.rewritten || self.unknown_because.is_some()
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
        mcp: Some(
            Mcp::new(
                "workspace_diff",
                "Show changes",
                Profile::WorkspaceCore,
                Effect::Reads,
            )
            .only_full(&["binary", "prefix"]),
        ),
        sdk: Some("diff_workspace"),
    };

    fn check(&self) -> Result<(), Error> {
        if self.commits.is_some() && self.prefix.is_some() {
            return Err(Error::invalid(
                "`prefix` cannot be combined with `commits`, which keep the names of their \
                 repository",
            )
            .hint("`git am --directory=FOLDER` puts the files into a folder"));
        }
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let odd = |part: &str| matches!(part, "." | "..") || part.contains(char::is_control);
        if prefix.starts_with('/') || prefix.len() > 4096 || prefix.split('/').any(odd) {
            return Err(Error::invalid(format!(
                "`{}` cannot be the prefix of the names in a diff",
                plain(prefix)
            ))
            .hint("Give a folder below the root of a repository, such as `services/api`"));
        }
        Ok(())
    }
}

#[cfg(test)]
impl DiffEntry {
    /// A file that changed, and why there is no patch of it.
    pub(super) fn of(status: DiffStatus, path: &str, no_patch_because: Option<&str>) -> Self {
        Self {
            path: path.to_owned(),
            status,
            artifact_type: ArtifactType::File,
            text_patch: None,
            no_patch_because: no_patch_because.map(str::to_owned),
            not_utf8: false,
            old_mode: None,
            new_mode: None,
            old_size_bytes: None,
            new_size_bytes: None,
            stands_for: None,
            own_folder: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_at_a_repository_is_no_work_and_a_commit_or_stash_is() {
        let changed = |path: &str, no_patch_because: Option<&str>| Differences {
            changed: true,
            summary: DiffSummary {
                total: 1,
                ..DiffSummary::default()
            },
            entries: vec![DiffEntry::of(DiffStatus::Modified, path, no_patch_because)],
            commits: vec![CommitsMade::default()],
            ..Differences::default()
        };
        let index = changed("sub/.git/index", Some("repository"));
        assert!(!index.changes_work());
        assert!(!Differences::default().changes_work());
        assert!(changed("a", None).changes_work());
        assert!(changed("a.pyc", Some("binary")).changes_work());
        assert!(changed(".git/refs/stash", Some("repository")).changes_work());
        let made = |made: CommitsMade| Differences {
            commits: vec![made],
            ..index.clone()
        };
        assert!(
            made(CommitsMade {
                elsewhere: 1,
                ..CommitsMade::default()
            })
            .changes_work()
        );
        assert!(
            made(CommitsMade {
                unknown_because: Some("no git".to_owned()),
                ..CommitsMade::default()
            })
            .changes_work()
        );
        let mut part = index.clone();
        part.summary.total = 2;
        assert!(part.changes_work());
    }
}
