//! Writes down how jobs ended.

use pyro_api::Error;
use pyro_api::values::VmState;
use pyro_wire::fault::FaultCode;
use pyro_wire::jobs::{JobCause, JobEnd, JobState, JobWait};

use crate::engine::Engine;
use crate::machine::now;
use crate::machine::shim_client::{self, ShimError};
use crate::store::{Command, StoredJob, StoredWorkspace};
use crate::workspace::find::last_end;

const SIGKILL: i32 = 9;

impl Engine {
    /// The workspace with no job in it that has ended.
    pub(crate) fn reconcile_jobs(&self, stored: StoredWorkspace) -> Result<StoredWorkspace, Error> {
        let id = stored.record.workspace_id.clone();
        let folder = self.workspace_folder(&id);
        let mut now_so = None;
        for job in &stored.jobs {
            // In this order: what is not alive writes no end any more.
            let alive = folder.vm(job.generation).is_alive();
            let end = folder.job_end(job.job);
            if alive && end.is_none() {
                continue;
            }
            now_so = self.end_job(&stored, job, end.as_ref())?.or(now_so);
        }
        Ok(now_so.unwrap_or(stored))
    }

    /// The same, where the end of a job may be in no file: its shim knows it as long as that lives.
    pub(crate) async fn with_jobs_asked(
        &self,
        stored: StoredWorkspace,
    ) -> Result<StoredWorkspace, Error> {
        let folder = self.workspace_folder(&stored.record.workspace_id);
        let mut now_so = None;
        for job in &stored.jobs {
            let request = JobWait {
                job: job.job,
                seen: [u64::MAX; 2],
                timeout_ms: 0,
            };
            let end = match shim_client::job_wait(&folder.vm(job.generation), request).await {
                Ok(JobState { end: Some(end), .. }) => Some(end),
                Err(ShimError::Failed { fault }) if fault.code == FaultCode::NotFound => {
                    folder.job_end(job.job)
                }
                _ => continue,
            };
            now_so = self.end_job(&stored, job, end.as_ref())?.or(now_so);
        }
        Ok(now_so.unwrap_or(stored))
    }

    /// Writes down the end of one job, if nobody has; without an end it went with its VM. `None`: the
    /// workspace is gone.
    pub(crate) fn end_job(
        &self,
        stored: &StoredWorkspace,
        job: &StoredJob,
        end: Option<&JobEnd>,
    ) -> Result<Option<StoredWorkspace>, Error> {
        let id = &stored.record.workspace_id;
        let folder = self.workspace_folder(id);
        let lost = match end {
            Some(_) => None,
            None => Some((folder.job_bytes(job.job), self.why_lost(stored, job))),
        };
        let ended = self.store()?.end_job(id, job.job, |command| {
            match (end, &lost) {
                (Some(end), _) => note(command, end),
                (None, Some(([stdout, stderr], (at, why)))) => {
                    command.exit_code = 128 + SIGKILL;
                    command.signal = Some(SIGKILL);
                    command.duration_ms = ((at - job.started_at).max(0.0) * 1000.0) as u64;
                    command.recorded_at = at.max(job.started_at);
                    command.stdout_bytes = *stdout;
                    command.stderr_bytes = *stderr;
                    command.ended_because = Some(why.clone());
                }
                (None, None) => {}
            }
            command.running = false;
        })?;
        Ok(ended)
    }

    /// When and why a job went with its VM.
    fn why_lost(&self, stored: &StoredWorkspace, job: &StoredJob) -> (f64, String) {
        let record = &stored.record;
        if job.generation != stored.generation {
            return (
                record.last_reset_at.unwrap_or_else(now),
                "its workspace was reset".to_owned(),
            );
        }
        let folder = self.workspace_folder(&record.workspace_id);
        let vm = folder.vm(job.generation);
        if vm.is_alive() {
            let why = "how it ended could not be saved, for instance because the disk of this host \
                       is full";
            return (now(), why.to_owned());
        }
        let (at, why) = last_end(&vm);
        match (&record.state, &record.stopped_because) {
            (VmState::Stopped, Some(why)) => (at, format!("its workspace was stopped: {why}")),
            _ => (at, format!("its workspace was stopped: {why}")),
        }
    }
}

/// Writes an end into the history's entry.
pub(crate) fn note(command: &mut Command, end: &JobEnd) {
    command.set_end(&end.exec);
    command.recorded_at = end.at_ms as f64 / 1000.0;
    [command.stdout_bytes, command.stderr_bytes] = end.written;
    let why = match end.cause {
        JobCause::Itself | JobCause::Unknown => None,
        JobCause::Asked => Some("it was asked to end"),
        JobCause::CallerGone => Some("its caller went away"),
        JobCause::VmStopped => Some("its workspace was stopped"),
    };
    command.ended_because = why.map(str::to_owned);
}
