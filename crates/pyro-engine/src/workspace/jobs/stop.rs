//! Ends a job that runs.

use std::convert::Infallible;
use std::time::Instant;

use pyro_api::values::WorkspaceExecResult;
use pyro_api::{Caller, Error, ErrorCode, Stream};
use pyro_wire::jobs::JobState;
use tokio::time::timeout_at;

use super::files::read_on;
use super::follow::{self, JobStatus, take_beyond};
use crate::engine::Engine;
use crate::machine::output::CapturedOutput;
use crate::machine::shim_client;
use crate::workspace::errors::{STOP_IT, unknown_command};
use crate::workspace::exec::result;

impl Engine {
    /// Ends a command that goes on, and tells of it as of one that was waited for. One that has ended
    /// already is told of as well: whoever wanted its end has it.
    pub(in crate::workspace) async fn stop_command(
        &self,
        reference: &str,
        sequence: u32,
        caller: &Caller,
    ) -> Result<WorkspaceExecResult, Error> {
        let mut stored = self.find_workspace(reference)?;
        let id = stored.record.workspace_id.clone();
        let folder = self.workspace_folder(&id);
        let mut being_ended = false;
        let running = stored.jobs.iter().rfind(|job| job.sequence == sequence);
        if let Some(job) = running.cloned() {
            let vm = folder.vm(job.generation);
            let stop = shim_client::job_stop(&vm, job.job);
            let answered = match caller.deadline() {
                Some(by) => timeout_at(by.into(), stop).await.ok(),
                None => Some(stop.await),
            };
            stored = match answered {
                // The shim goes on with it.
                None => {
                    being_ended = true;
                    stored
                }
                Some(Ok(JobState { end: Some(end), .. })) => {
                    self.end_job(&stored, &job, Some(&end))?.unwrap_or(stored)
                }
                // It has ended meanwhile, or its VM is about to.
                Some(_) => {
                    let now = Some(Instant::now());
                    let stand = follow::wait(&vm, &folder, job.job, [u64::MAX; 2], now).await;
                    if let JobStatus::Lost = stand {
                        self.end_job(&stored, &job, None)?;
                    }
                    self.with_jobs_asked(self.reload_workspace(&id)?).await?
                }
            };
        }
        let history = self.store()?.commands(&id)?;
        let total = history.len();
        let found = history.into_iter().rfind(|one| one.sequence == sequence);
        let command = found.ok_or_else(|| unknown_command(&id, sequence, total))?;
        being_ended &= command.running;
        if command.running && !being_ended {
            return Err(Error::new(
                ErrorCode::VmDied,
                format!("Command {sequence} of workspace `{id}` could not be ended"),
            )
            .because("its guest did not answer in time")
            .hint(STOP_IT));
        }
        let end = command.job.and_then(|job| folder.job_end(job));
        let tails = end.map(|end| end.tails).unwrap_or_default();
        let texts = [
            (Stream::Stdout, command.stdout_bytes, &tails[0]),
            (Stream::Stderr, command.stderr_bytes, &tails[1]),
        ]
        .map(|(stream, bytes, tail)| {
            let mut kept = CapturedOutput::new(caller.keep_output());
            let mut read = 0;
            let path = folder.output_of(&command, stream);
            let _ = read_on(&path, &mut read, |bytes| {
                kept.push(bytes);
                Ok::<_, Infallible>(())
            });
            take_beyond(&mut kept, bytes.saturating_sub(read), tail);
            if command.running {
                kept.leave_off_partial_end();
            }
            kept.into_text()
        });
        Ok(WorkspaceExecResult {
            stopped: !being_ended,
            next: being_ended.then(|| {
                format!(
                    "The command is being ended. Call workspace_logs with sequence={sequence} \
                     wait_seconds=10 to see how it ended."
                )
            }),
            ..result(&stored, &folder, command, texts, caller)
        })
    }
}
