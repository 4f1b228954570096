//! What happened in and to workspaces: commands that ended, and events.

use pyro_api::operations::workspace_logs::LogEvent;
use pyro_api::values::{ExecutionMode, LastCommand};
use pyro_wire::exec::ExecEnd;
use rusqlite::{Transaction, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::json::Json;
use super::records::StoredWorkspace;
use super::workspaces::change_in;
use super::{Store, StoreError};

/// A command. Its output lies in files named after its numbers, or after its job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Command {
    /// How many resets came before it.
    pub(crate) reset_count: u32,
    /// Given when it is recorded. No other command of the workspace has it; where an older pyro counted
    /// anew after a reset, the newest is meant.
    pub(crate) sequence: u32,
    pub(crate) command: String,
    pub(crate) cwd: String,
    pub(crate) exit_code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) timed_out: bool,
    #[serde(default)]
    pub(crate) oom_killed: bool,
    pub(crate) duration_ms: u64,
    pub(crate) execution_mode: ExecutionMode,
    pub(crate) recorded_at: f64,
    pub(crate) stdout_bytes: u64,
    pub(crate) stderr_bytes: u64,
    /// What its shim knew it by, where that was its caller.
    #[serde(default)]
    pub(crate) job: Option<u64>,
    /// It goes on, and how it ends is still to be written here. It was recorded when it began.
    #[serde(default)]
    pub(crate) running: bool,
    /// Why it ended, where that was neither its own doing nor its time.
    #[serde(default)]
    pub(crate) ended_because: Option<String>,
}

impl Command {
    /// How long it has run by now, or did until its end.
    pub(crate) fn lasted_ms(&self, now: f64) -> u64 {
        match self.running {
            true => ((now - self.recorded_at).max(0.0) * 1000.0) as u64,
            false => self.duration_ms,
        }
    }

    /// Notes how the guest's agent saw it end.
    pub(crate) fn set_end(&mut self, end: &ExecEnd) {
        self.exit_code = end.exit_code;
        self.signal = end.signal;
        self.timed_out = end.timed_out;
        self.oom_killed = end.oom_killed;
        self.duration_ms = end.duration_ms;
    }

    pub(super) fn as_last(&self) -> LastCommand {
        LastCommand {
            sequence: self.sequence,
            command: self.command.clone(),
            cwd: self.cwd.clone(),
            exit_code: self.exit_code,
            duration_ms: self.duration_ms,
            execution_mode: self.execution_mode,
        }
    }
}

/// The number of the next command. Resets do not count anew: whoever holds a number means one command.
pub(super) fn next_sequence(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<u32> {
    transaction.query_row(
        "SELECT coalesce(max(sequence), 0) + 1 FROM commands WHERE workspace_id = ?1",
        [id],
        |row| row.get(0),
    )
}

/// Puts a command that has its number into the history.
pub(super) fn insert_command(
    transaction: &Transaction<'_>,
    id: &str,
    command: &Command,
) -> rusqlite::Result<usize> {
    transaction.execute(
        "INSERT INTO commands (workspace_id, reset_count, sequence, entry)
         VALUES (?1, ?2, ?3, ?4)",
        params![id, command.reset_count, command.sequence, Json(command)],
    )
}

impl Store {
    /// Gives the command its number, keeps it, and moves the workspace's record on. `None`: the
    /// workspace is gone.
    pub(crate) fn record_command(
        &self,
        id: &str,
        mut command: Command,
        change: impl FnOnce(&mut StoredWorkspace),
    ) -> Result<Option<Command>, StoreError> {
        self.write(|transaction| {
            command.sequence = next_sequence(transaction, id)?;
            let changed = change_in(transaction, id, |workspace| {
                change(workspace);
                let record = &mut workspace.record;
                // A command that a reset overtook belongs to the time before.
                if command.reset_count == record.reset_count {
                    record.command_count += 1;
                    record.last_command = Some(command.as_last());
                }
            })?;
            if changed.is_none() {
                return Ok(None);
            }
            insert_command(transaction, id, &command)?;
            Ok(Some(command))
        })
    }

    /// The commands of a workspace, oldest first.
    pub(crate) fn commands(&self, id: &str) -> Result<Vec<Command>, StoreError> {
        self.entries(
            id,
            "SELECT entry FROM commands WHERE workspace_id = ?1 ORDER BY reset_count, sequence",
        )
    }

    /// Notes what happened to a workspace; nothing when it is gone.
    pub(crate) fn add_event(&self, id: &str, event: &LogEvent) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT INTO events (workspace_id, entry)
                     SELECT workspace_id, ?2 FROM workspaces WHERE workspace_id = ?1",
                    params![id, Json(event)],
                )
                .map(drop)
        })
    }

    /// What happened to a workspace, oldest first.
    pub(crate) fn events(&self, id: &str) -> Result<Vec<LogEvent>, StoreError> {
        self.entries(
            id,
            "SELECT entry FROM events WHERE workspace_id = ?1 ORDER BY number",
        )
    }

    fn entries<T: DeserializeOwned>(&self, id: &str, query: &str) -> Result<Vec<T>, StoreError> {
        self.read(|connection| {
            connection
                .prepare(query)?
                .query_map([id], |row| row.get::<_, Json<T>>(0))?
                .map(|entry| entry.map(|Json(entry)| entry))
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::workspace;

    fn command(reset_count: u32, sequence: u32) -> Command {
        Command {
            reset_count,
            sequence,
            command: format!("{reset_count}.{sequence}"),
            cwd: "/workspace".to_owned(),
            exit_code: 0,
            signal: None,
            timed_out: false,
            oom_killed: false,
            duration_ms: 1,
            execution_mode: ExecutionMode::GuestVsock,
            recorded_at: 1.0,
            stdout_bytes: 0,
            stderr_bytes: 0,
            job: None,
            running: false,
            ended_because: None,
        }
    }

    #[test]
    fn a_number_is_given_once_also_where_an_older_pyro_gave_some_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut stored = workspace();
        stored.record.reset_count = 1;
        stored.record.command_count = 1;
        let id = stored.record.workspace_id.clone();
        store.put_workspace(&stored).unwrap();
        store
            .write(|transaction| {
                for (reset_count, sequence) in [(0, 1), (0, 2), (0, 3), (1, 1)] {
                    insert_command(transaction, &id, &command(reset_count, sequence))?;
                }
                Ok(())
            })
            .unwrap();
        let given = |reset_count| {
            let recorded = store.record_command(&id, command(reset_count, 0), |_| {});
            recorded.unwrap().unwrap().sequence
        };
        assert_eq!((given(1), given(1)), (4, 5));
        // One that the reset overtook counts to the time before.
        assert_eq!(given(0), 6);
        let record = store.workspace(&id).unwrap().unwrap().record;
        assert_eq!(record.command_count, 3);
        assert_eq!(record.last_command.unwrap().sequence, 5);
        let newest = store.commands(&id).unwrap();
        let newest = newest.iter().rfind(|command| command.sequence == 1);
        assert_eq!(newest.unwrap().reset_count, 1);
    }
}
