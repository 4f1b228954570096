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

use pyro_api::values::WorkspaceExecResult;
use pyro_api::{Error, ErrorCode, Event};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::jobs::JobStart;
use tokio::net::UnixStream;

use super::ends::note;
use super::files::KeptJob;
use super::follow::{Follow, Stand};
use crate::engine::Engine;
use crate::error::host_io;
use crate::machine::create::random_number;
use crate::machine::link::{self, LinkError};
use crate::machine::now;
use crate::machine::output::KeptText;
use crate::machine::start::cancelled;
use crate::store::Command;
use crate::workspace::errors::{STOP_IT, unknown};
use crate::workspace::exec::{Begun, DOING, with_its_output};
use crate::workspace::find::last_words;
use crate::workspace::folder::WorkspaceFolder;
use crate::workspace::interrupted::{Unfinished, Written};
use crate::workspace::log_files;

/// What a first wait suggests for the next ones, in seconds. A door bounds it by what its client takes.
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
enum NoJob {
    /// It is too old to know what is asked of it.
    Unknown,
    TooMany(Fault),
}

impl Engine {
    /// Runs a command that is the caller's, and the supervisor's when the moment for an answer comes.
    pub(in crate::workspace) async fn exec_until(
        &self,
        mut begun: Begun<'_>,
        stream: UnixStream,
        until: Instant,
    ) -> Result<WorkspaceExecResult, Error> {
        let Ok(started) = self.start_job(&mut begun).await? else {
            // As it always was: the answer may come too late.
            return self.exec_to_its_end(begun, stream).await;
        };
        drop(stream);
        let (vm, folder) = (self.vm_of(&begun.stored), self.folder_of(&begun));
        let mut unfinished = Unfinished {
            store: Arc::clone(self.store()?),
            folder: folder.clone(),
            workspace_id: begun.stored.record.workspace_id.clone(),
            written: Written::Job(started.job),
            started: started.at,
            command: Some(begun.entry.clone()),
        };
        let mut follow = Follow::new(&vm, &folder, started.job, begun.caller.keep_output());
        let stand = follow
            .until(Some(until), |stream, bytes| {
                begun.caller.emit(Event::Output { stream, bytes })
            })
            .await
            .map_err(|_| cancelled())?;
        match stand {
            Stand::Running { .. } => {
                let command = self.begin_job(&begun, &started)?;
                unfinished.over();
                started.let_go().await;
                Ok(begun.running(command, follow.kept.map(|kept| kept.into_text())))
            }
            Stand::Ended(end) => {
                unfinished.over();
                let mut entry = begun.entry.clone();
                note(&mut entry, &end);
                let id = &begun.stored.record.workspace_id;
                let command = self.record_ended(id, entry)?;
                Ok(begun.result(command, follow.kept.map(|kept| kept.into_text())))
            }
            Stand::Lost => Err(self.went_away_under(&begun.stored, &mut unfinished).await),
        }
    }

    /// Runs a command that is the supervisor's from its beginning.
    pub(in crate::workspace) async fn exec_as_job(
        &self,
        mut begun: Begun<'_>,
        until: Instant,
    ) -> Result<WorkspaceExecResult, Error> {
        let id = begun.stored.record.workspace_id.clone();
        let started = match self.start_job(&mut begun).await? {
            Ok(started) => started,
            Err(NoJob::TooMany(fault)) => return Err(begun.not_started(fault)),
            Err(NoJob::Unknown) => {
                return Err(Error::new(
                    ErrorCode::Unsupported,
                    format!("No command can go on by itself in workspace `{id}`"),
                )
                .because("its VM was started by an older pyro")
                .hint(STOP_IT));
            }
        };
        let (vm, folder) = (self.vm_of(&begun.stored), self.folder_of(&begun));
        let job = started.job;
        let command = self.begin_job(&begun, &started)?;
        started.let_go().await;
        let mut follow = Follow::new(&vm, &folder, job, begun.caller.keep_output());
        let hear = |stream, bytes: &[u8]| begun.caller.emit(Event::Output { stream, bytes });
        let stand = tokio::select! {
            biased;
            stand = follow.until(Some(until), hear) => stand,
            // That is the end of the wait, and not of the command.
            () = begun.caller.interrupted() => Ok(follow.so_far()),
        };
        let stand = stand.map_err(|_| cancelled())?;
        let texts = follow.kept.map(|kept| kept.into_text());
        if let Stand::Running { .. } = stand {
            return Ok(begun.running(command, texts));
        }
        self.with_jobs_asked(self.reload_workspace(&id)?).await?;
        match stand {
            Stand::Lost => {
                let told = self.went_away(&id, DOING, last_words(&vm));
                Err(with_its_output(told))
            }
            _ => {
                let history = self.store()?.commands(&id)?;
                let ended = history.into_iter().find(|one| one.job == Some(job));
                Ok(begun.result(ended.ok_or_else(|| unknown(&id))?, texts))
            }
        }
    }

    fn folder_of(&self, begun: &Begun<'_>) -> WorkspaceFolder {
        self.workspace_folder(&begun.stored.record.workspace_id)
    }

    async fn start_job(&self, begun: &mut Begun<'_>) -> Result<Result<Started, NoJob>, Error> {
        let folder = self.folder_of(begun);
        let job = random_number()?;
        let not_kept = |error| host_io("The output could not be kept", &error);
        let kept = folder.keep_job(job).map_err(not_kept)?;
        let request = JobStart {
            job,
            exec: begun.order.exec(begun.stdin.is_some()),
            input: begun.stdin.unwrap_or_default().to_vec().into(),
            folder: path::absolute(folder.outputs()).map_err(not_kept)?,
            most_bytes: log_files::CAP,
        };
        begun.entry.job = Some(job);
        begun.entry.recorded_at = now();
        let vm = self.vm_of(&begun.stored);
        let id = &begun.stored.record.workspace_id;
        match link::job_start(&vm, request).await {
            Ok(held) => Ok(Ok(Started {
                job,
                held,
                at: Instant::now(),
                kept,
            })),
            Err(LinkError::Failed { fault }) => match fault.code {
                FaultCode::Protocol => {
                    begun.entry.job = None;
                    Ok(Err(NoJob::Unknown))
                }
                FaultCode::TooMany => {
                    begun.entry.job = None;
                    Ok(Err(NoJob::TooMany(fault)))
                }
                FaultCode::Over | FaultCode::GuestDied => {
                    Err(self.went_away(id, DOING, last_words(&vm)))
                }
                _ => Err(begun.not_started(fault)),
            },
            Err(_) => Err(self.went_away(id, DOING, last_words(&vm))),
        }
    }

    fn begin_job(&self, begun: &Begun<'_>, started: &Started) -> Result<Command, Error> {
        let id = &begun.stored.record.workspace_id;
        let generation = begun.stored.generation;
        let recorded = self
            .store()?
            .begin_job(id, begun.entry.clone(), started.job, generation)?;
        recorded.ok_or_else(|| unknown(id).because("it was deleted while the command ran"))
    }
}

impl Started {
    /// What becomes of it when that fails, whoever looks next finds out.
    async fn let_go(self) {
        let _ = link::job_let_go(self.held).await;
        drop(self.kept);
    }
}

impl Begun<'_> {
    /// The answer for a command that goes on.
    fn running(&self, mut command: Command, texts: [KeptText; 2]) -> WorkspaceExecResult {
        let [stdout, stderr] = texts.each_ref().map(|text| text.bytes.min(log_files::CAP));
        let id = &self.stored.record.workspace_id;
        let sequence = command.sequence;
        command.duration_ms = ((now() - command.recorded_at).max(0.0) * 1000.0) as u64;
        let time = self.order.limit().unwrap_or_default().as_secs();
        let next = match self.caller.is_model() {
            true => format!(
                "The command goes on. Call workspace_logs with sequence={sequence} \
                 offset={stdout} stderr_offset={stderr} wait_seconds={NEXT_WAIT} for what it prints \
                 next, again until running is false. Call workspace_exec with stop={sequence} to \
                 end it. It is ended in any case {time} s after its start (timeout_seconds)."
            ),
            false => format!(
                "the command goes on: `pyro workspace logs {id} --sequence {sequence} --offset \
                 {stdout} --stderr-offset {stderr} --wait-seconds {NEXT_WAIT}` shows what it prints \
                 next, `pyro workspace exec {id} --stop {sequence}` ends it; it is ended in any case \
                 {time} s after its start"
            ),
        };
        WorkspaceExecResult {
            next: Some(next),
            ..self.result(command, texts)
        }
    }
}
