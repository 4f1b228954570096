use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shell_attach::ShellLeft;
use super::workspace_diff::{DiffEntry, DiffStatus, Differences};
use crate::report::plain;
use crate::values::{
    ArtifactType, CommandLine, Isolation, MemMib, TimeoutSeconds, TtyArgs, WorkspaceExecResult,
    quoted,
};
use crate::{Cli, Error, JsonFlag, Names, Operation, Report, Text};

/// How many changed files are named before the rest is only counted.
const NAMED: usize = 20;

/// Why a change has no text patch, where one of git's binary sections holds it.
const BINARY: &str = "binary";

/// Try something on a copy of a folder, in a VM or sandbox, and show what it changed
///
/// Without a command, opens a shell at this terminal. The folder itself is never changed. If files
/// of the copy changed, it is kept as a workspace and the next steps are shown; otherwise it is
/// deleted.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct TryOut {
    // The first, as it looks at what was typed for others, which each of them takes away.
    #[command(flatten)]
    #[serde(skip)]
    pub terminal: TtyArgs,
    /// The folder, or a .tar, .tar.gz, .tgz or .tar.zst file
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// A command line for `/bin/sh -l`; without it a shell
    #[command(flatten)]
    pub command: CommandLine,
    /// The environment to start from
    #[arg(long, default_value = "debian:12")]
    pub environment: String,
    /// Let the guest reach the internet, but not this host or the networks near it
    #[arg(long)]
    #[serde(default)]
    pub network: bool,
    /// Seconds until the command and everything it started are ended; at a terminal, no limit unless
    /// given
    #[arg(long, default_value_t = an_hour(), allow_negative_numbers = true)]
    #[serde(default = "an_hour")]
    pub timeout_seconds: TimeoutSeconds,
    /// Memory in MiB, 256 to 32768
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub mem_mib: MemMib,
    /// What to leave out, as in `.gitignore`
    #[arg(long, value_name = "PATTERN")]
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Leave out what git ignores
    #[arg(long)]
    #[serde(default)]
    pub gitignore: bool,
    /// What keeps the copy apart from this host; as PYRO_ISOLATION says if not given, or `auto`
    #[arg(long, value_enum, ignore_case = true)]
    #[serde(default)]
    pub isolation: Option<Isolation>,
}

/// A person is there, and projects take their time to build.
fn an_hour() -> TimeoutSeconds {
    TimeoutSeconds::new(3600).unwrap_or_default()
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TriedOut {
    pub workspace_id: String,
    /// What was copied.
    pub path: String,
    pub command: Option<WorkspaceExecResult>,
    pub shell: Option<ShellLeft>,
    pub changes: Differences,
    /// Whether the copy was deleted, as it was left the way it was.
    pub deleted: bool,
    /// Whether a folder was copied, and no archive; for the command line.
    #[serde(skip)]
    pub is_folder: bool,
}

impl Report for TriedOut {
    fn report(&self, text: &mut Text) {
        if let Some(command) = &self.command {
            command.report(text);
        }
        if let Some(shell) = &self.shell {
            shell.report(text);
        }
        if self.deleted {
            text.err("[try] no files changed; the copy was deleted");
            return;
        }
        let id = &self.workspace_id;
        let summary = &self.changes.summary;
        text.err(format!(
            "[try] workspace_id={id} total={} added={} modified={} deleted={} type_changed={}",
            summary.total, summary.added, summary.modified, summary.deleted, summary.type_changed
        ));
        let entries = &self.changes.entries;
        let of_project = entries.iter().filter(|entry| !entry.is_a_repositorys());
        for entry in of_project.clone().take(NAMED) {
            let did = match entry.status {
                DiffStatus::Added => "added",
                DiffStatus::Modified => "modified",
                DiffStatus::Deleted => "deleted",
                DiffStatus::TypeChanged => "type changed",
            };
            text.err(format!("[try] {did}: {}", plain(&entry.path)));
        }
        let of_repositories = entries.iter().filter(|entry| entry.is_a_repositorys());
        let of_repositories = of_repositories.count() as u64;
        let named = of_project.take(NAMED).count() as u64;
        let rest = summary.total.saturating_sub(named + of_repositories);
        if rest > 0 {
            text.err(format!("[try] and {rest} more"));
        }
        if of_repositories > 0 {
            text.err(format!(
                "[try] and {of_repositories} in a repository's own folder"
            ));
        }
        text.err(format!("[try] look:   pyro workspace diff {id}"));
        if let Some(take) = self.take() {
            text.err(format!("[try] take:   {take}"));
        }
        text.err(format!(
            "[try] go on:  pyro workspace shell attach {id}\n\
             [try] delete: pyro workspace delete {id}"
        ));
    }

    fn exit_code(&self) -> u8 {
        let of_command = self.command.as_ref().map(Report::exit_code);
        of_command
            .or(self.shell.as_ref().map(Report::exit_code))
            .unwrap_or(0)
    }
}

impl TriedOut {
    /// What brings to this host every change that a patch can hold. Those that it cannot (too large,
    /// what a repository keeps for itself) stay behind.
    fn take(&self) -> Option<String> {
        let id = &self.workspace_id;
        if self.is_folder {
            let entries = self.changes.entries.iter();
            let any_binary =
                { entries }.any(|entry| entry.no_patch_because.as_deref() == Some(BINARY));
            let binary = if any_binary { " --binary" } else { "" };
            let any = self.changes.summary.text_patched > 0 || any_binary;
            let apply = git_apply(&self.path)?;
            return any.then(|| format!("pyro workspace diff {id}{binary} | {apply}"));
        }
        let (path, name) = self.changes.entries.iter().find_map(file_to_take)?;
        Some(format!(
            "pyro workspace export {id} {} --output {}",
            typed(&format!("./{path}"))?,
            typed(&format!("./{name}"))?
        ))
    }
}

/// What applies a patch in a folder; `None` where that cannot be typed.
pub fn git_apply(folder: &str) -> Option<String> {
    Some(match folder {
        "." => "git apply".to_owned(),
        folder => format!("git -C {} apply", typed(folder)?),
    })
}

/// A file that the diff shows whole, by its path and its name.
fn file_to_take(entry: &DiffEntry) -> Option<(&str, &str)> {
    let is_shown = entry.no_patch_because.is_none() && !entry.not_utf8;
    let is_there = entry.status != DiffStatus::Deleted;
    if !is_shown || !is_there || entry.artifact_type != ArtifactType::File {
        return None;
    }
    let path = Path::new(&entry.path);
    let is_below = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let name = path.file_name()?.to_str()?;
    (is_below && typed(name).is_some()).then_some((&entry.path, name))
}

/// A path as it is typed in a shell; `None` for one that a terminal cannot show.
fn typed(path: &str) -> Option<Cow<'_, str>> {
    let is_plain = plain(path) == path && !path.contains(char::REPLACEMENT_CHARACTER);
    is_plain.then(|| quoted(path))
}

impl Operation for TryOut {
    type Output = TriedOut;

    const NAMES: Names = Names {
        operation: "try_out",
        cli: Some(Cli {
            path: &["try"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: None,
    };

    fn check(&self) -> Result<(), Error> {
        match self.command.is_none() {
            true => Ok(()),
            false => self.command.check(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::workspace_diff::DiffSummary;
    use super::*;

    fn changed(path: &str, no_patch_because: Option<&str>) -> DiffEntry {
        DiffEntry::of(DiffStatus::Added, path, no_patch_because)
    }

    fn tried(path: &str, is_folder: bool, entries: Vec<DiffEntry>) -> TriedOut {
        let patched = |entry: &&DiffEntry| entry.no_patch_because.is_none();
        let text_patched = entries.iter().filter(patched).count() as u64;
        let changes = Differences {
            changed: true,
            summary: DiffSummary {
                total: entries.len() as u64,
                text_patched,
                ..DiffSummary::default()
            },
            entries,
            ..Differences::default()
        };
        TriedOut {
            workspace_id: "3f0a".to_owned(),
            path: path.to_owned(),
            command: None,
            shell: None,
            changes,
            deleted: false,
            is_folder,
        }
    }

    #[test]
    fn a_folder_takes_what_a_patch_can_hold() {
        let text = || {
            vec![
                changed(".git/index", Some("repository")),
                changed("a", None),
            ]
        };
        let take = |path| tried(path, true, text()).take();
        let piped = |at: &str| Some(format!("pyro workspace diff 3f0a | git{at} apply"));
        let with_binary = || Some("pyro workspace diff 3f0a --binary | git apply".to_owned());
        assert_eq!(take("."), piped(""));
        assert_eq!(take("my project"), piped(" -C 'my project'"));
        assert_eq!(take("a\u{1b}b"), None);

        let mut both = text();
        both.push(changed("a.png", Some("binary")));
        assert_eq!(tried(".", true, both).take(), with_binary());
        let binary = vec![changed("a.png", Some("binary"))];
        assert_eq!(tried(".", true, binary.clone()).take(), with_binary());
        assert_eq!(tried("seed.tar.gz", false, binary).take(), None);
        let in_none = vec![
            changed(".git/index", Some("repository")),
            changed("large", Some("too_large")),
        ];
        assert_eq!(tried(".", true, in_none).take(), None);
    }

    #[test]
    fn a_file_of_an_archive_is_taken_beside_it_and_replaces_nothing() {
        let take = |path| {
            let entries = vec![changed("x.pyc", Some("binary")), changed(path, None)];
            tried("seed.tar.gz", false, entries).take()
        };
        let export = |path, to| {
            let line = format!("pyro workspace export 3f0a {path} --output {to}");
            Some(line)
        };
        assert_eq!(take("src/a.txt"), export("./src/a.txt", "./a.txt"));
        assert_eq!(take("-x"), export("./-x", "./-x"));
        assert_eq!(take("b c"), export("'./b c'", "'./b c'"));
        assert_eq!(take("a\nb"), None);
    }

    #[test]
    fn what_a_repository_keeps_for_itself_is_counted_and_not_named() {
        let mut text = Text::default();
        let entries = vec![
            changed(".git/index", Some("repository")),
            changed("a", None),
        ];
        tried(".", true, entries).report(&mut text);
        let said = String::from_utf8(text.err).unwrap();
        assert!(said.contains("added: a"), "{said}");
        assert!(
            said.contains("and 1 in a repository's own folder"),
            "{said}"
        );
        assert!(!said.contains("index") && !said.contains(" more"), "{said}");
    }
}
