//! A command in a workspace, and its place in the history.

use std::sync::Arc;
use std::time::Instant;

use pyro_api::operations::workspace_exec::WorkspaceExec;
use pyro_api::values::{WORKSPACE_PATH, WorkspaceExecResult, more_memory};
use pyro_api::{Caller, Error, Event};
use pyro_wire::fault::FaultCode;

use super::connect::Connected;
use super::errors::{refused, unknown};
use super::find::last_words;
use super::interrupted::Unfinished;
use super::lock::Hold;
use super::log_files::Recorder;
use crate::answers;
use crate::engine::Engine;
use crate::error::host_io;
use crate::machine::command::{self, CommandError};
use crate::machine::start::cancelled;
use crate::machine::{end, now};
use crate::store::Command;

impl Engine {
    /// Ends a command with its VM, as the guest does not end it. The next use starts the workspace
    /// again.
    async fn stop_stuck(&self, id: &str, caller: &Caller) -> Result<(), Error> {
        let why = "its guest did not answer any more when the time of a command was over";
        let _held = self.workspace_folder(id).hold(id, Hold::Exclusive).await?;
        self.stop_workspace(self.reload_workspace(id)?, why).await?;
        caller
            .emit(Event::Note(format!("workspace {id} was stopped: {why}")))
            .map_err(|_| cancelled())
    }

    pub(crate) async fn exec_in_workspace(
        &self,
        asked: &WorkspaceExec,
        caller: &Caller,
    ) -> Result<WorkspaceExecResult, Error> {
        let doing = "run the command to its end";
        if !asked.secret_env.is_empty() {
            // Not worth starting a VM for.
            self.check_secret_env(
                &self.find_workspace(&asked.workspace_id)?,
                &asked.secret_env,
            )?;
        }
        let Connected {
            stored,
            stream,
            started,
        } = self.connect(&asked.workspace_id, doing, caller).await?;
        let record = &stored.record;
        let id = &record.workspace_id;
        let folder = self.workspace_folder(id);
        let unspoken = self.unspoken(&stored)?;
        let recorder = Recorder::new(&folder, caller.clone())
            .map(Arc::new)
            .map_err(|error| host_io("The output could not be kept", &error))?;
        let listening = caller.clone().with_events(recorder.clone());
        let seconds = asked.timeout_seconds.get();
        let secret_env = asked.secret_env.pairs();
        let mut entry = Command {
            reset_count: record.reset_count,
            sequence: 0,
            command: unspoken.clean_command(&asked.command),
            cwd: WORKSPACE_PATH.to_owned(),
            exit_code: 0,
            signal: None,
            timed_out: false,
            oom_killed: false,
            duration_ms: 0,
            execution_mode: record.execution_mode,
            recorded_at: 0.0,
            stdout_bytes: 0,
            stderr_bytes: 0,
        };
        let mut unfinished = Unfinished {
            store: Arc::clone(self.store()?),
            folder: folder.clone(),
            workspace_id: id.clone(),
            recorder: Arc::clone(&recorder),
            started: Instant::now(),
            command: Some(entry.clone()),
        };
        let run = command::run(stream, &asked.command, secret_env, seconds, &listening).await;
        if matches!(run, Ok(_) | Err(CommandError::Refused { .. })) {
            unfinished.over();
        }
        let finished = match run {
            Ok(finished) => finished,
            Err(CommandError::CallerGone) => return Err(cancelled()),
            // One that shuts down starts no more commands; why, it says elsewhere.
            Err(CommandError::Refused { fault }) if fault.code != FaultCode::Over => {
                let what = format!("The command could not be started in workspace `{id}`");
                return Err(unspoken.clean_error(refused(what, fault)));
            }
            Err(
                CommandError::VmGone | CommandError::Broken { .. } | CommandError::Refused { .. },
            ) => {
                let vm = self.vm_of(&stored);
                // It may still be writing down why.
                let _ = end::wait_until_gone(&vm, end::GOING).await;
                let told = self.went_away(id, doing, last_words(&vm));
                return Err(match unfinished.put_down() {
                    true => with_its_output(told),
                    false => told,
                });
            }
        };

        let (stdout, stderr) = (finished.stdout.into_text(), finished.stderr.into_text());
        entry.exit_code = finished.end.exit_code;
        entry.signal = finished.end.signal;
        entry.timed_out = finished.end.timed_out;
        entry.oom_killed = finished.end.oom_killed;
        entry.duration_ms = finished.end.duration_ms;
        entry.recorded_at = now();
        entry.stdout_bytes = stdout.bytes;
        entry.stderr_bytes = stderr.bytes;
        let kept = self
            .store()?
            .record_command(id, entry, |stored| stored.record.last_activity_at = now())?
            .ok_or_else(|| unknown(id).because("it was deleted while the command ran"))?;
        recorder.keep(&folder, kept.reset_count, kept.sequence);
        if finished.runs_on {
            self.stop_stuck(id, caller).await?;
        }
        Ok(WorkspaceExecResult {
            workspace_id: id.clone(),
            environment: record.environment.clone(),
            environment_version: record.environment_version.clone(),
            command: answers::words(caller, kept.command),
            stdout: stdout.text,
            stderr: stderr.text,
            exit_code: kept.exit_code,
            duration_ms: kept.duration_ms,
            execution_mode: kept.execution_mode,
            sequence: kept.sequence,
            cwd: kept.cwd,
            signal: kept.signal,
            timed_out: kept.timed_out,
            oom_killed: kept.oom_killed,
            mem_mib: record.mem_mib,
            advice: kept.oom_killed.then(|| more_memory(record.mem_mib)),
            stdout_bytes: stdout.bytes,
            stderr_bytes: stderr.bytes,
            stdout_truncated: stdout.truncated,
            stderr_truncated: stderr.truncated,
            stdout_encoding: stdout.encoding,
            stderr_encoding: stderr.encoding,
            workspace_started: started,
        })
    }
}

/// A command may tell more of the death of its VM than the VM could.
fn with_its_output(told: Error) -> Error {
    let hint = told.hint.clone().unwrap_or_default();
    told.hint(format!(
        "{hint}. `pyro workspace logs` (`workspace_logs`) shows what the command wrote until then"
    ))
}
