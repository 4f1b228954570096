//! Commands in the history that still run.

use pyro_api::values::RunningCommand;
use rusqlite::params;

use super::history::{Command, insert_command, next_sequence};
use super::json::Json;
use super::records::{StoredJob, StoredWorkspace};
use super::workspaces::change_in;
use super::{Store, StoreError};

impl Store {
    /// Gives a command that goes on its number, and its place in the history. `None`: the workspace
    /// is gone.
    pub(crate) fn begin_job(
        &self,
        id: &str,
        mut command: Command,
        job: u64,
        generation: u32,
    ) -> Result<Option<Command>, StoreError> {
        self.write(|transaction| {
            command.sequence = next_sequence(transaction, id)?;
            command.job = Some(job);
            command.running = true;
            let changed = change_in(transaction, id, |workspace| {
                workspace.jobs.push(StoredJob {
                    job,
                    sequence: command.sequence,
                    reset_count: command.reset_count,
                    generation,
                    started_at: command.recorded_at,
                });
                let record = &mut workspace.record;
                record.last_activity_at = command.recorded_at;
                // One that a reset overtook belongs to the time before.
                if command.reset_count == record.reset_count {
                    record.command_count += 1;
                }
                record.running_commands.push(RunningCommand {
                    sequence: command.sequence,
                    command: command.command.clone(),
                    started_at: command.recorded_at,
                });
            })?;
            if changed.is_none() {
                return Ok(None);
            }
            insert_command(transaction, id, &command)?;
            Ok(Some(command))
        })
    }

    /// Writes down that a job has ended, if that was not done yet. `None`: the workspace is gone.
    pub(crate) fn end_job(
        &self,
        id: &str,
        job: u64,
        change: impl FnOnce(&mut Command),
    ) -> Result<Option<StoredWorkspace>, StoreError> {
        self.write(|transaction| {
            let mut running = None;
            let changed = change_in(transaction, id, |workspace| {
                if let Some(at) = workspace.jobs.iter().position(|one| one.job == job) {
                    running = Some(workspace.jobs.remove(at));
                    // In the same order, as both are changed here only.
                    workspace.record.running_commands.remove(at);
                }
            })?;
            let Some(job) = running else {
                return Ok(changed);
            };
            let Json(mut command): Json<Command> = transaction.query_row(
                "SELECT entry FROM commands
                 WHERE workspace_id = ?1 AND reset_count = ?2 AND sequence = ?3",
                params![id, job.reset_count, job.sequence],
                |row| row.get(0),
            )?;
            change(&mut command);
            transaction.execute(
                "UPDATE commands SET entry = ?4
                 WHERE workspace_id = ?1 AND reset_count = ?2 AND sequence = ?3",
                params![id, job.reset_count, job.sequence, Json(&command)],
            )?;
            change_in(transaction, id, |workspace| {
                let record = &mut workspace.record;
                record.last_activity_at = record.last_activity_at.max(command.recorded_at);
                if command.reset_count == record.reset_count {
                    record.last_command = Some(command.as_last());
                }
            })
        })
    }
}
