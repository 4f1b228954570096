//! Runs a command that is the supervisor's, or may come to be.
//!
//! ```text
//! shim starts it, held by us ──▶ in the history, let go ──▶ followed ──▶ ended, or still running
//!                           └──▶ followed ──▶ ended: into the history
//!                                        └──▶ time for an answer: in the history, let go
//! ```
//!
//! Whoever is killed while the shim's connection is there takes the command with him; from when it is
//! let go its place in the history says that it runs, and whoever looks next writes down its end.

use std::path;
use std::sync::Arc;
use std::time::Instant;

use pyro_api::operations::workspace_exec::LONGEST_STDIN;
use pyro_api::values::WorkspaceExecResult;
use pyro_api::{Error, ErrorCode, Event};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::jobs::{JobStart, READ_AHEAD};
use tokio::net::UnixStream;

use super::ends::note;
use super::files::KeptJob;
use super::follow::{Follow, JobStatus};
use crate::engine::Engine;
use crate::error::{cancelled, host_io};
use crate::machine::now;
use crate::machine::output::CapturedOutput;
use crate::machine::shim_client::{self, ShimError};
use crate::random::random_number;
use crate::store::Command;
use crate::workspace::errors::{STOP_IT, unknown};
use crate::workspace::exec::{DOING, PreparedExec, with_its_output};
use crate::workspace::find::tombstone;
use crate::workspace::folder::WorkspaceFolder;
use crate::workspace::interrupted::{InterruptGuard, OutputSource};
use crate::workspace::log_files;

// So that it can be asked to end whatever it leaves unread.
const _: () = assert!(LONGEST_STDIN <= READ_AHEAD);

/// What a first wait suggests for the next ones, in seconds. A surface bounds it by what its client takes.
const NEXT_WAIT: u32 = 60;

/// A command that runs in the shim.
struct Started {
    job: u64,
    /// Its end is that of the command, until it is let go.
    held: UnixStream,
    at: Instant,
    kept: KeptJob,
}

/// Why the shim takes no command, though the caller may run it.
enum JobRefused {
    /// It is too old to know what is asked of it.
    Unknown,
    TooMany(Fault),
}

impl Engine {
    /// Runs a command that is the caller's, and the supervisor's when the moment for an answer comes.
    pub(in crate::workspace) async fn exec_until(
        &self,
        mut prepared: PreparedExec<'_>,
        stream: UnixStream,
        until: Instant,
    ) -> Result<WorkspaceExecResult, Error> {
        let Ok(started) = self.start_job(&mut prepared).await? else {
            // As it always was: the answer may come too late.
            return self.exec_to_its_end(prepared, stream).await;
        };
        drop(stream);
        let (vm, folder) = (self.vm_of(&prepared.stored), self.folder_of(&prepared));
        let mut guard = InterruptGuard {
            store: Arc::clone(self.store()?),
            folder: folder.clone(),
            workspace_id: prepared.stored.record.workspace_id.clone(),
            output: OutputSource::Job(started.job),
            started: started.at,
            command: Some(prepared.entry.clone()),
            caller: prepared.caller.clone(),
        };
        let mut follow = Follow::new(&vm, &folder, started.job, prepared.caller.keep_output());
        let stand = follow
            .until(Some(until), |stream, bytes| {
                prepared.caller.emit(Event::Output { stream, bytes })
            })
            .await;
        let Ok(stand) = stand else {
            guard.record_killed();
            return Err(cancelled());
        };
        match stand {
            JobStatus::Running { .. } => {
                let command = self.begin_job(&prepared, &started)?;
                guard.disarm();
                started.detach().await;
                Ok(prepared.running(&folder, command, follow.kept))
            }
            JobStatus::Ended(end) => {
                guard.disarm();
                let mut entry = prepared.entry.clone();
                note(&mut entry, &end);
                let id = &prepared.stored.record.workspace_id;
                let command = self.record_ended(id, entry)?;
                Ok(prepared.result(&folder, command, follow.kept.map(|kept| kept.into_text())))
            }
            JobStatus::Lost => Err(self.went_away_under(&prepared.stored, &mut guard).await),
        }
    }

    /// Runs a command that is the supervisor's from its beginning.
    pub(in crate::workspace) async fn exec_as_job(
        &self,
        mut prepared: PreparedExec<'_>,
        until: Instant,
    ) -> Result<WorkspaceExecResult, Error> {
        let id = prepared.stored.record.workspace_id.clone();
        let started = match self.start_job(&mut prepared).await? {
            Ok(started) => started,
            Err(JobRefused::TooMany(fault)) => return Err(prepared.not_started(fault)),
            Err(JobRefused::Unknown) => {
                return Err(Error::new(
                    ErrorCode::Unsupported,
                    format!("No command can run in the background in workspace `{id}`"),
                )
                .because("it was started by an older pyro")
                .hint(STOP_IT));
            }
        };
        let (vm, folder) = (self.vm_of(&prepared.stored), self.folder_of(&prepared));
        let job = started.job;
        let command = self.begin_job(&prepared, &started)?;
        started.detach().await;
        let mut follow = Follow::new(&vm, &folder, job, prepared.caller.keep_output());
        let on_output =
            |stream, bytes: &[u8]| prepared.caller.emit(Event::Output { stream, bytes });
        let status = tokio::select! {
            biased;
            status = follow.until(Some(until), on_output) => status,
            // That is the end of the wait, and not of the command.
            () = prepared.caller.interrupted() => Ok(follow.so_far()),
        };
        let stand = status.map_err(|_| cancelled())?;
        if let JobStatus::Running { .. } = stand {
            return Ok(prepared.running(&folder, command, follow.kept));
        }
        let texts = follow.kept.map(|kept| kept.into_text());
        self.with_jobs_asked(self.reload_workspace(&id)?).await?;
        match stand {
            JobStatus::Lost => {
                let told = self.went_away(&id, DOING, tombstone(&vm));
                Err(with_its_output(told))
            }
            _ => {
                let history = self.store()?.commands(&id)?;
                let ended = history.into_iter().find(|one| one.job == Some(job));
                Ok(prepared.result(&folder, ended.ok_or_else(|| unknown(&id))?, texts))
            }
        }
    }

    fn folder_of(&self, prepared: &PreparedExec<'_>) -> WorkspaceFolder {
        self.workspace_folder(&prepared.stored.record.workspace_id)
    }

    async fn start_job(
        &self,
        prepared: &mut PreparedExec<'_>,
    ) -> Result<Result<Started, JobRefused>, Error> {
        let folder = self.folder_of(prepared);
        let job = random_number()?;
        let not_kept = |error| host_io("The output could not be kept", &error);
        let kept = folder.keep_job(job).map_err(not_kept)?;
        let request = JobStart {
            job,
            exec: prepared.spec.exec(prepared.stdin.is_some()),
            input: prepared.stdin.unwrap_or_default().to_vec().into(),
            folder: path::absolute(folder.outputs()).map_err(not_kept)?,
            max_bytes: log_files::CAP,
        };
        prepared.entry.job = Some(job);
        prepared.entry.recorded_at = now();
        let vm = self.vm_of(&prepared.stored);
        let id = &prepared.stored.record.workspace_id;
        match shim_client::job_start(&vm, request).await {
            Ok(held) => Ok(Ok(Started {
                job,
                held,
                at: Instant::now(),
                kept,
            })),
            Err(ShimError::Failed { fault }) => match fault.code {
                FaultCode::Protocol => {
                    prepared.entry.job = None;
                    Ok(Err(JobRefused::Unknown))
                }
                FaultCode::TooMany => {
                    prepared.entry.job = None;
                    Ok(Err(JobRefused::TooMany(fault)))
                }
                FaultCode::Over | FaultCode::GuestDied => {
                    Err(self.went_away(id, DOING, tombstone(&vm)))
                }
                _ => Err(prepared.not_started(fault)),
            },
            Err(_) => Err(self.went_away(id, DOING, tombstone(&vm))),
        }
    }

    fn begin_job(&self, prepared: &PreparedExec<'_>, started: &Started) -> Result<Command, Error> {
        let id = &prepared.stored.record.workspace_id;
        let generation = prepared.stored.generation;
        let recorded =
            self.store()?
                .begin_job(id, prepared.entry.clone(), started.job, generation)?;
        recorded.ok_or_else(|| unknown(id).because("it was deleted while the command was running"))
    }
}

impl Started {
    /// What becomes of it when that fails, whoever looks next finds out.
    async fn detach(self) {
        let _ = shim_client::job_detach(self.held).await;
        drop(self.kept);
    }
}

impl PreparedExec<'_> {
    /// The answer for a command that goes on.
    fn running(
        &self,
        folder: &WorkspaceFolder,
        command: Command,
        kept: [CapturedOutput; 2],
    ) -> WorkspaceExecResult {
        let texts = kept.map(|mut kept| {
            kept.leave_off_partial_end();
            kept.into_text()
        });
        let [stdout, stderr] = texts.each_ref().map(|text| text.bytes.min(log_files::CAP));
        let id = &self.stored.record.workspace_id;
        let sequence = command.sequence;
        let time = self.spec.limit().unwrap_or_default().as_secs();
        let next = match self.caller.is_model() {
            true => format!(
                "The command is still running. Call workspace_logs with sequence={sequence} \
                 offset={stdout} stderr_offset={stderr} wait_seconds={NEXT_WAIT} for its next \
                 output, and repeat until running is false. Call workspace_exec with \
                 stop={sequence} to end it. It is ended in any case {time} s after its start \
                 (timeout_seconds)."
            ),
            false => format!(
                "the command is still running: `pyro workspace logs {id} --sequence {sequence} \
                 --offset {stdout} --stderr-offset {stderr} --wait-seconds {NEXT_WAIT}` shows its \
                 next output, `pyro workspace exec {id} --stop {sequence}` ends it; it is ended in \
                 any case {time} s after its start"
            ),
        };
        WorkspaceExecResult {
            next: Some(next),
            ..self.result(folder, command, texts)
        }
    }
}
