//! The place in the history of a command that came to no end of its own, because its caller or its
//! VM went away: what it wrote until then stays.

use std::sync::Arc;
use std::time::Instant;

use pyro_api::{Caller, Event};

use super::folder::WorkspaceFolder;
use super::log_files::Recorder;
use crate::machine::now;
use crate::store::{Command, Store};

/// The agent ends a command whose stream is gone with this; the end of a VM is no milder.
const SIGKILL: i32 = 9;

/// Where the output of the command is.
pub(crate) enum OutputSource {
    Recorded(Arc<Recorder>),
    /// The files of this job, which stay where they are.
    Job(u64),
}

/// Records a running command as killed when it is dropped: its caller has gone.
/// Disarmed once the end is known.
pub(crate) struct InterruptGuard {
    pub(crate) store: Arc<Store>,
    pub(crate) folder: WorkspaceFolder,
    pub(crate) workspace_id: String,
    pub(crate) output: OutputSource,
    pub(crate) started: Instant,
    /// As far as it is known before its end; `None` when that came.
    pub(crate) command: Option<Command>,
    /// Who is told if it is still there.
    pub(crate) caller: Caller,
}

impl InterruptGuard {
    /// The end is recorded elsewhere.
    pub(crate) fn disarm(&mut self) {
        self.command = None;
    }

    /// Records the command as killed. Which one it is in the history now.
    pub(crate) fn record_killed(&mut self) -> Option<u32> {
        let mut command = self.command.take()?;
        let [stdout_bytes, stderr_bytes] = match &self.output {
            OutputSource::Recorded(recorder) => recorder.written(),
            OutputSource::Job(job) => self.folder.job_bytes(*job),
        };
        command.exit_code = 128 + SIGKILL;
        command.signal = Some(SIGKILL);
        command.duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        command.recorded_at = now();
        command.stdout_bytes = stdout_bytes;
        command.stderr_bytes = stderr_bytes;
        let kept = self
            .store
            .record_command(&self.workspace_id, command, |stored| {
                stored.record.last_activity_at = now();
            });
        let kept = kept.ok()??;
        if let OutputSource::Recorded(recorder) = &self.output {
            recorder.keep(&self.folder, kept.reset_count, kept.sequence);
        }
        Some(kept.sequence)
    }
}

impl Drop for InterruptGuard {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure.
        let Some(sequence) = self.record_killed() else {
            return;
        };
        let _ = self.caller.emit(Event::Note(format!(
            "interrupted: command {sequence} of workspace {} and all that it started are ended",
            self.workspace_id
        )));
    }
}
