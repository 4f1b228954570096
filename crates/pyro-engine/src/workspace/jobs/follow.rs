//! Follows a job through its files, as far as somebody waits.

use std::time::{Duration, Instant};

use pyro_api::{Disconnected, Stream};
use pyro_wire::fault::FaultCode;
use pyro_wire::jobs::{JobEnd, JobState, JobWait};

use super::files::read_on;
use crate::machine::end;
use crate::machine::folder::VmFolder;
use crate::machine::output::CapturedOutput;
use crate::machine::shim_client::{self, ShimError};
use crate::workspace::folder::WorkspaceFolder;

/// How a job stands after a wait.
#[derive(Debug)]
pub(crate) enum JobStatus {
    Running {
        written: [u64; 2],
    },
    Ended(Box<JobEnd>),
    /// Its VM has gone, and it with that.
    Lost,
}

/// Waits until a job has written more than was seen of it, until it has ended, or until the moment.
pub(crate) async fn wait(
    vm: &VmFolder,
    folder: &WorkspaceFolder,
    job: u64,
    seen: [u64; 2],
    until: Option<Instant>,
) -> JobStatus {
    let patience = until.map_or(Duration::MAX, |until| {
        until.saturating_duration_since(Instant::now())
    });
    let request = JobWait {
        job,
        seen,
        timeout_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
    };
    let unknown = match shim_client::job_wait(vm, request).await {
        Ok(JobState { end: Some(end), .. }) => return JobStatus::Ended(Box::new(end)),
        Ok(JobState { written, .. }) => return JobStatus::Running { written },
        Err(ShimError::Failed { fault }) => fault.code == FaultCode::NotFound,
        Err(_) => false,
    };
    // It has ended, its VM is about to, or both.
    if let Some(end) = folder.job_end(job) {
        return JobStatus::Ended(Box::new(end));
    }
    if !unknown {
        let _ = end::wait_until_gone(vm, end::EXIT_TIMEOUT).await;
    }
    let alive = vm.is_alive();
    match folder.job_end(job) {
        Some(end) => JobStatus::Ended(Box::new(end)),
        // Nobody could be asked; who waits asks again.
        None if alive && !unknown => JobStatus::Running { written: seen },
        None => JobStatus::Lost,
    }
}

/// Follows a job from its beginning.
pub(crate) struct Follow<'a> {
    vm: &'a VmFolder,
    folder: &'a WorkspaceFolder,
    job: u64,
    read: [u64; 2],
    written: [u64; 2],
    /// Standard output and standard error.
    pub(crate) kept: [CapturedOutput; 2],
}

impl<'a> Follow<'a> {
    pub(crate) fn new(
        vm: &'a VmFolder,
        folder: &'a WorkspaceFolder,
        job: u64,
        keep_output: usize,
    ) -> Self {
        Self {
            vm,
            folder,
            job,
            read: [0; 2],
            written: [0; 2],
            kept: [
                CapturedOutput::new(keep_output),
                CapturedOutput::new(keep_output),
            ],
        }
    }

    /// Until the job has ended, or until the moment; `hear` gets what it writes.
    pub(crate) async fn until(
        &mut self,
        moment: Option<Instant>,
        mut hear: impl FnMut(Stream, &[u8]) -> Result<(), Disconnected>,
    ) -> Result<JobStatus, Disconnected> {
        loop {
            let stand = wait(self.vm, self.folder, self.job, self.written, moment).await;
            self.take_what_is_there(&mut hear)?;
            match &stand {
                JobStatus::Running { written } => {
                    self.written = *written;
                    if moment.is_some_and(|moment| moment <= Instant::now()) {
                        self.count(*written, None);
                        return Ok(stand);
                    }
                }
                JobStatus::Ended(end) => {
                    let end = end.clone();
                    self.count(end.written, Some(&end));
                    return Ok(stand);
                }
                JobStatus::Lost => return Ok(stand),
            }
        }
    }

    /// How it stood when that was last heard, for whoever stops waiting.
    pub(crate) fn so_far(&mut self) -> JobStatus {
        let written = self.written;
        self.count(written, None);
        JobStatus::Running { written }
    }

    fn take_what_is_there(
        &mut self,
        hear: &mut impl FnMut(Stream, &[u8]) -> Result<(), Disconnected>,
    ) -> Result<(), Disconnected> {
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            let path = self.folder.job_output(self.job, stream);
            let kept = &mut self.kept[index];
            // A file that cannot be read shows again when the history is asked for.
            let _ = read_on(&path, &mut self.read[index], |bytes| {
                kept.push(bytes);
                hear(stream, bytes)
            })?;
        }
        Ok(())
    }

    /// Counts what was written and is in no file, and takes the end of it where that is known.
    fn count(&mut self, written: [u64; 2], end: Option<&JobEnd>) {
        for (index, kept) in self.kept.iter_mut().enumerate() {
            let beyond = written[index].saturating_sub(self.read[index]);
            let tail = end.map_or(&[][..], |end| &end.tails[index]);
            take_beyond(kept, beyond, tail);
        }
    }
}

/// Counts so many bytes that are in no file, and takes the end of them as far as that is known.
pub(super) fn take_beyond(kept: &mut CapturedOutput, beyond: u64, tail: &[u8]) {
    let tail = end_of(tail, beyond);
    kept.pass_over(beyond - tail.len() as u64);
    kept.push(tail);
}

/// At most so many of the last bytes.
pub(crate) fn end_of(bytes: &[u8], most: u64) -> &[u8] {
    let wanted = usize::try_from(most).unwrap_or(usize::MAX);
    &bytes[bytes.len().saturating_sub(wanted)..]
}
