use pyro_api::operations::workspace_logs::{LogEntry, Logged, WorkspaceLogs};
use pyro_api::{Caller, Error, Handle, Stream};

use crate::Engine;
use crate::error::host_io;
use crate::store::Command;
use crate::workspace::folder::{WorkspaceFolder, output_name};
use crate::workspace::log_files;

/// How much of each stream is shown when one command is asked for, and when many are.
const OF_ONE: u32 = 65_536;
const OF_MANY: u32 = 4096;

impl Handle<WorkspaceLogs> for Engine {
    async fn handle(&self, asked: WorkspaceLogs, _caller: &Caller) -> Result<Logged, Error> {
        let id = self
            .find_workspace(&asked.workspace_id)?
            .record
            .workspace_id;
        let folder = self.workspace_folder(&id);
        let mut commands = self.store()?.commands(&id)?;
        let total = commands.len();
        let each = match (asked.max_bytes, asked.sequence) {
            (Some(bytes), _) => bytes.get(),
            (None, Some(_)) => OF_ONE,
            (None, None) => OF_MANY,
        };
        if let Some(sequence) = asked.sequence {
            // Numbers begin anew with each reset; the newest is meant.
            commands.retain(|command| command.sequence == sequence);
            commands.drain(..commands.len().saturating_sub(1));
            if commands.is_empty() {
                return Err(
                    Error::invalid(format!("Workspace `{id}` has no command {sequence}"))
                        .because(format!("{total} commands have ended in it"))
                        .hint("Leave `sequence` out to see them all"),
                );
            }
        }
        if let Some(last) = asked.last {
            commands.drain(..commands.len().saturating_sub(last as usize));
        }
        let entries = commands
            .into_iter()
            .map(|command| entry(&folder, command, asked.offset, each.into()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Logged {
            count: entries.len(),
            total,
            entries,
            events: self.store()?.events(&id)?,
            workspace_id: id,
        })
    }
}

fn entry(
    folder: &WorkspaceFolder,
    command: Command,
    offset: u64,
    length: u64,
) -> Result<LogEntry, Error> {
    let read = |stream| {
        let path = folder.output(command.reset_count, command.sequence, stream);
        log_files::read(&path, offset, length)
            .map_err(|error| host_io("The output of a command could not be read", &error))
    };
    let (stdout, stdout_kept_bytes) = read(Stream::Stdout)?;
    let (stderr, stderr_kept_bytes) = read(Stream::Stderr)?;
    let more = |shown: &[u8], bytes: u64| offset.saturating_add(shown.len() as u64) < bytes;
    Ok(LogEntry {
        sequence: command.sequence,
        cwd: command.cwd,
        exit_code: command.exit_code,
        duration_ms: command.duration_ms,
        execution_mode: command.execution_mode,
        stdout_file: output_name(command.sequence, Stream::Stdout),
        stderr_file: output_name(command.sequence, Stream::Stderr),
        recorded_at: command.recorded_at,
        stdout_truncated: more(&stdout, command.stdout_bytes),
        stderr_truncated: more(&stderr, command.stderr_bytes),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        timed_out: command.timed_out,
        signal: command.signal,
        stdout_bytes: command.stdout_bytes,
        stderr_bytes: command.stderr_bytes,
        stdout_kept_bytes,
        stderr_kept_bytes,
        reset_count: command.reset_count,
        command: command.command,
    })
}
