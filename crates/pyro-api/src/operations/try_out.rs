use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shell_attach::ShellLeft;
use super::workspace_diff::{DiffStatus, Differences};
use crate::report::plain;
use crate::values::{ArtifactType, CommandLine, TimeoutSeconds, WorkspaceExecResult, quoted};
use crate::{Cli, Error, JsonFlag, Names, Operation, Report, Text};

/// How many changed files are named before the rest is only counted.
const NAMED: usize = 20;

/// Try something on a copy of a folder, in a VM, and tell what it changed
///
/// Without a command, a shell at this terminal. The folder itself is never changed. When files of
/// the copy changed it is kept as a workspace, and what to do with it is told; otherwise it is
/// deleted.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct TryOut {
    /// The folder, or a .tar, .tar.gz, .tgz or .tar.zst file
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// The command, a line for `/bin/sh -l`; a shell without it
    #[command(flatten)]
    pub command: CommandLine,
    /// The environment to start from
    #[arg(long, default_value = "debian:12")]
    pub environment: String,
    /// Let the guest reach the internet, though not this host and the networks near it
    #[arg(long)]
    #[serde(default)]
    pub network: bool,
    /// Seconds until the command and everything it started are ended
    #[arg(long, default_value_t = an_hour(), allow_negative_numbers = true)]
    #[serde(default = "an_hour")]
    pub timeout_seconds: TimeoutSeconds,
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
            text.err("[try] no file changed; the copy is deleted");
            return;
        }
        let id = &self.workspace_id;
        let summary = &self.changes.summary;
        text.err(format!(
            "[try] workspace_id={id} total={} added={} modified={} deleted={} type_changed={}",
            summary.total, summary.added, summary.modified, summary.deleted, summary.type_changed
        ));
        for entry in self.changes.entries.iter().take(NAMED) {
            let did = match entry.status {
                DiffStatus::Added => "added",
                DiffStatus::Modified => "modified",
                DiffStatus::Deleted => "deleted",
                DiffStatus::TypeChanged => "type changed",
            };
            text.err(format!("[try] {did}: {}", plain(&entry.path)));
        }
        let rest = summary.total.saturating_sub(NAMED as u64);
        if rest > 0 {
            text.err(format!("[try] and {rest} more"));
        }
        let folder = Path::new(&self.path);
        text.err(format!("[try] look:   pyro workspace diff {id}"));
        let file = self.changes.entries.iter().find(|entry| {
            entry.status != DiffStatus::Deleted && entry.artifact_type == ArtifactType::File
        });
        if let Some(file) = file {
            text.err(format!(
                "[try] take:   pyro workspace export {id} {} --output {} --overwrite",
                quoted(&plain(&file.path)),
                quoted(&plain(&folder.join(&file.path).to_string_lossy()))
            ));
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
