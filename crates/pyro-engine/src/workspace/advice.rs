//! What to do about how a command of a workspace ended.

use pyro_api::Stream;
use pyro_api::values::{ExecutionMode, more_memory};

use super::folder::WorkspaceFolder;
use super::log_files;
use crate::gvisor::lacks::{self, Guest};
use crate::machine::output::LastWords;
use crate::store::Command;

/// `None`: there is nothing to do, or it still runs.
pub(crate) fn advice(folder: &WorkspaceFolder, mem_mib: u32, command: &Command) -> Option<String> {
    if command.oom_killed {
        return Some(more_memory(mem_mib));
    }
    let is_failed = !command.running && command.exit_code != 0;
    if !is_failed || command.execution_mode != ExecutionMode::Gvisor {
        return None;
    }
    let said = last_words(folder, command);
    lacks::advice(Guest::Workspace, command.exit_code, &said)
}

/// The end of what it wrote to standard error; at a terminal there is only the other stream.
fn last_words(folder: &WorkspaceFolder, command: &Command) -> String {
    let (stream, written) = match command.stderr_bytes {
        0 => (Stream::Stdout, command.stdout_bytes),
        written => (Stream::Stderr, written),
    };
    let mut words = LastWords::default();
    let from = written
        .min(log_files::CAP)
        .saturating_sub(LastWords::BYTES as u64);
    let path = folder.output_of(command, stream);
    if let Ok((kept, _)) = log_files::read(&path, from, LastWords::BYTES as u64) {
        words.push(&kept);
    }
    if written > log_files::CAP
        && let Some(end) = command.job.and_then(|job| folder.job_end(job))
    {
        words.push(&end.tails[stream as usize]);
    }
    words.into_text()
}
