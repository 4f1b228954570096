//! A command in a workspace, and its place in the history.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyro_api::operations::workspace_exec::{LONGEST_STDIN, WorkspaceExec};
use pyro_api::values::WorkspaceExecResult;
use pyro_api::{Caller, Disconnected, Error, Event, PersonTerminal, Stream, TakenTerminal};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::service::STOP_MS;

use super::advice::advice;
use super::connect::Connected;
use super::errors::{refused, unknown};
use super::find::tombstone;
use super::folder::WorkspaceFolder;
use super::interrupted::{InterruptGuard, OutputSource};
use super::lock::LockMode;
use super::log_files::Recorder;
use super::secrets::Redactor;
use super::text_input::file_bytes;
use crate::answers;
use crate::engine::Engine;
use crate::error::{cancelled, host_io};
use crate::machine::command::{self, CommandError, CommandSpec};
use crate::machine::command_tty;
use crate::machine::output::CapturedText;
use crate::machine::{end, now};
use crate::shells::attach;
use crate::store::{Command, StoredWorkspace};

/// Completes "could not be reached to …".
pub(super) const DOING: &str = "finish the command";

/// Why a command ended whose caller was interrupted.
const INTERRUPTED: &str = "its caller was interrupted";

/// What a call takes beyond its command: a command whose own time ends so much before an answer is due
/// needs nobody to go on with it. One whose time is over has a while to end itself.
const AROUND_THE_COMMAND: Duration = Duration::from_millis(STOP_MS + 2_000);

/// A command that is about to be started.
pub(super) struct PreparedExec<'a> {
    pub(super) stored: StoredWorkspace,
    /// Whether the VM had to be started.
    pub(super) started: bool,
    pub(super) spec: CommandSpec<'a>,
    pub(super) stdin: Option<&'a [u8]>,
    /// Where the command has the one that a person sits at.
    pub(super) terminal: Option<&'a dyn PersonTerminal>,
    pub(super) redactor: Redactor,
    /// As far as its place in the history is known.
    pub(super) entry: Command,
    pub(super) caller: &'a Caller,
}

/// Whose command it is.
enum ExecMode {
    /// The caller's, to its end.
    Attached,
    /// The caller's; from this moment on that of the VM's supervisor.
    AttachedUntil(Instant),
    /// The supervisor's; the caller waits for it until this moment.
    Detached(Instant),
}

impl ExecMode {
    /// Of a call that came at this moment: what a VM takes to start is part of the wait.
    fn of(asked: &WorkspaceExec, caller: &Caller, came: Instant) -> Self {
        let now = Instant::now();
        let wait = match asked.background {
            true => Some(0),
            false => asked.wait_seconds.map(|wait| wait.get()),
        };
        match (wait, caller.deadline()) {
            (Some(wait), by) => {
                let until = came + Duration::from_secs(wait.into());
                Self::Detached(by.map_or(until, |by| by.min(until)))
            }
            (None, Some(by)) => {
                let time = Duration::from_secs(asked.timeout_seconds.get().into());
                match time + AROUND_THE_COMMAND > by.saturating_duration_since(now) {
                    true => Self::AttachedUntil(by),
                    false => Self::Attached,
                }
            }
            (None, None) => Self::Attached,
        }
    }
}

/// What the command is given to read. `-` is the caller's own input, where it has one.
async fn given_stdin<'a>(
    asked: &'a WorkspaceExec,
    caller: &Caller,
) -> Result<Option<Cow<'a, [u8]>>, Error> {
    match asked.stdin.as_deref() {
        Some("-") if caller.has_input() => {
            let most = LONGEST_STDIN as u64;
            let read = file_bytes("standard input", Path::new("-"), most, caller).await?;
            Ok(Some(read.into()))
        }
        Some("-") if caller.terminal().is_some() => Err(Error::invalid(
            "`--stdin -` reads standard input to its end, but that is a terminal",
        )
        .hint("Pipe the text in, or give it as `--stdin TEXT`")),
        text => Ok(text.map(|text| text.as_bytes().into())),
    }
}

fn tell_unread(caller: &Caller) -> Result<(), Error> {
    let note = "standard input was not read: a background command gets only what `--stdin TEXT` or \
                `--stdin -` passes on";
    caller
        .emit(Event::Note(note.into()))
        .map_err(|_| cancelled())
}

impl Engine {
    /// Ends a command with its VM, as the guest does not end it. The next use starts the workspace
    /// again.
    async fn stop_stuck(&self, id: &str, caller: &Caller) -> Result<(), Error> {
        let why = "its guest no longer answered when a command timed out";
        let _held = self
            .workspace_folder(id)
            .lock(id, LockMode::Exclusive)
            .await?;
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
        if let Some(sequence) = asked.stop {
            return self
                .stop_command(&asked.workspace_id, sequence, caller)
                .await;
        }
        let came = Instant::now();
        // Not worth starting a VM for what is refused.
        let found = self.find_workspace(&asked.workspace_id)?;
        self.check_secret_env(&found, &asked.secret_env)?;
        let terminal = match asked.has_no_terminal_because() {
            Some(_) => None,
            None => asked.terminal.wanted(caller)?,
        };
        let limit = asked.terminal.limit(terminal, asked.timeout_seconds);
        let spec = CommandSpec::of(&asked.command, asked.cwd.as_deref(), &asked.env, limit);
        let mut spec = spec.map_err(|error| self.redacted_error(&found, error))?;
        spec.secret_env = asked.secret_env.pairs();
        spec = spec.run_by(asked.user.as_ref(), &found.record.metadata);
        let stdin = given_stdin(asked, caller).await?;
        let Connected {
            stored,
            stream,
            started,
        } = self.connect(&asked.workspace_id, DOING, caller).await?;
        let redactor = self.redactor(&stored)?;
        let record = &stored.record;
        let entry = Command {
            reset_count: record.reset_count,
            sequence: 0,
            command: redactor.redact_command(&asked.command),
            cwd: redactor.redact(spec.folder.absolute()),
            exit_code: 0,
            signal: None,
            timed_out: false,
            oom_killed: false,
            duration_ms: 0,
            execution_mode: record.execution_mode,
            recorded_at: 0.0,
            stdout_bytes: 0,
            stderr_bytes: 0,
            job: None,
            running: false,
            ended_because: None,
        };
        let prepared = PreparedExec {
            stored,
            started,
            spec,
            stdin: stdin.as_deref(),
            terminal,
            redactor,
            entry,
            caller,
        };
        match ExecMode::of(asked, caller, came) {
            ExecMode::Attached => self.exec_to_its_end(prepared, stream).await,
            ExecMode::Detached(until) => {
                if prepared.stdin.is_none() && caller.input_waits() {
                    tell_unread(caller)?;
                }
                self.exec_as_job(prepared, until).await
            }
            ExecMode::AttachedUntil(until) => self.exec_until(prepared, stream, until).await,
        }
    }

    pub(super) async fn exec_to_its_end(
        &self,
        prepared: PreparedExec<'_>,
        stream: tokio::net::UnixStream,
    ) -> Result<WorkspaceExecResult, Error> {
        let PreparedExec { stored, caller, .. } = &prepared;
        let id = &stored.record.workspace_id;
        let folder = self.workspace_folder(id);
        let recorder = Recorder::new(&folder, (*caller).clone())
            .map(Arc::new)
            .map_err(|error| host_io("The output could not be kept", &error))?;
        let mut listening = (*caller).clone().with_events(recorder.clone());
        if let Some(text) = prepared.stdin {
            listening = listening.with_input(Box::new(std::io::Cursor::new(text.to_vec())));
        }
        let taken = prepared.terminal.map(attach::take).transpose()?;
        let mut entry = prepared.entry.clone();
        let mut guard = InterruptGuard {
            store: Arc::clone(self.store()?),
            folder: folder.clone(),
            workspace_id: id.clone(),
            output: OutputSource::Recorded(Arc::clone(&recorder)),
            started: Instant::now(),
            command: Some(entry.clone()),
            caller: (*caller).clone(),
        };
        let run = match taken {
            Some((taken, heard)) => {
                let recorder = Arc::clone(&recorder);
                let taken = Box::new(RecordedTerminal { taken, recorder });
                let kept_bytes = caller.keep_output();
                command_tty::run(stream, &prepared.spec, taken, heard, kept_bytes).await
            }
            None => command::run(stream, &prepared.spec, &listening).await,
        };
        if matches!(run, Ok(_) | Err(CommandError::Refused { .. })) {
            guard.disarm();
        }
        let finished = match run {
            Ok(finished) => finished,
            Err(CommandError::CallerGone) => {
                guard.record_killed();
                return Err(cancelled());
            }
            // One that shuts down starts no more commands; why, it says elsewhere.
            Err(CommandError::Refused { fault }) if fault.code != FaultCode::Over => {
                return Err(prepared.not_started(fault));
            }
            Err(
                CommandError::VmGone | CommandError::Broken { .. } | CommandError::Refused { .. },
            ) => {
                return Err(self.went_away_under(stored, &mut guard).await);
            }
        };

        let texts = [finished.stdout, finished.stderr].map(|kept| kept.into_text());
        entry.set_end(&finished.end);
        entry.ended_because = finished.interrupted.then(|| INTERRUPTED.to_owned());
        entry.recorded_at = now();
        [entry.stdout_bytes, entry.stderr_bytes] = texts.each_ref().map(|text| text.bytes);
        let kept = self.record_ended(id, entry)?;
        recorder.keep(&folder, kept.reset_count, kept.sequence);
        if finished.runs_on {
            self.stop_stuck(id, caller).await?;
        }
        Ok(prepared.result(&folder, kept, texts))
    }

    /// Puts a command that has ended into the history.
    pub(super) fn record_ended(&self, id: &str, entry: Command) -> Result<Command, Error> {
        self.store()?
            .record_command(id, entry, |stored| stored.record.last_activity_at = now())?
            .ok_or_else(|| unknown(id).because("it was deleted while the command was running"))
    }

    /// Why a command came to no end of its own, when its VM has gone. It may still be writing down why.
    pub(super) async fn went_away_under(
        &self,
        stored: &StoredWorkspace,
        guard: &mut InterruptGuard,
    ) -> Error {
        let vm = self.vm_of(stored);
        let _ = end::wait_until_gone(&vm, end::EXIT_TIMEOUT).await;
        let told = self.went_away(&stored.record.workspace_id, DOING, tombstone(&vm));
        match guard.record_killed() {
            Some(_) => with_its_output(told),
            None => told,
        }
    }
}

/// A terminal of which what is shown there stays in the history.
struct RecordedTerminal {
    taken: Box<dyn TakenTerminal>,
    recorder: Arc<Recorder>,
}

impl TakenTerminal for RecordedTerminal {
    fn size(&self) -> (u16, u16) {
        self.taken.size()
    }

    fn show(&self, bytes: &[u8]) -> Result<(), Disconnected> {
        self.recorder.record(Stream::Stdout, bytes);
        self.taken.show(bytes)
    }
}

impl PreparedExec<'_> {
    pub(super) fn not_started(&self, fault: Fault) -> Error {
        let id = &self.stored.record.workspace_id;
        let what = format!("The command could not be started in workspace `{id}`");
        self.redactor.redact_error(refused(what, fault))
    }

    pub(super) fn result(
        &self,
        folder: &WorkspaceFolder,
        command: Command,
        texts: [CapturedText; 2],
    ) -> WorkspaceExecResult {
        WorkspaceExecResult {
            workspace_started: self.started,
            ..result(&self.stored, folder, command, texts, self.caller)
        }
    }
}

/// What is told of a command.
pub(super) fn result(
    stored: &StoredWorkspace,
    folder: &WorkspaceFolder,
    command: Command,
    [stdout, stderr]: [CapturedText; 2],
    caller: &Caller,
) -> WorkspaceExecResult {
    let record = &stored.record;
    let duration_ms = command.lasted_ms(now());
    let advice = advice(folder, record.mem_mib, &command);
    WorkspaceExecResult {
        workspace_id: record.workspace_id.clone(),
        environment: record.environment.clone(),
        environment_version: record.environment_version.clone(),
        command: answers::excerpt(caller, command.command),
        stdout: stdout.text,
        stderr: stderr.text,
        exit_code: (!command.running).then_some(command.exit_code),
        duration_ms,
        execution_mode: command.execution_mode,
        sequence: command.sequence,
        cwd: command.cwd,
        signal: command.signal,
        timed_out: command.timed_out,
        oom_killed: command.oom_killed,
        mem_mib: record.mem_mib,
        advice,
        stdout_bytes: stdout.bytes,
        stderr_bytes: stderr.bytes,
        stdout_truncated: stdout.truncated,
        stderr_truncated: stderr.truncated,
        stdout_encoding: stdout.encoding,
        stderr_encoding: stderr.encoding,
        workspace_started: false,
        running: command.running,
        ended_because: command.ended_because,
        next: None,
        stopped: false,
    }
}

/// A command may tell more of the death of its VM than the VM could.
pub(super) fn with_its_output(told: Error) -> Error {
    let hint = told.hint.clone().unwrap_or_default();
    told.hint(format!(
        "{hint}. `pyro workspace logs` (`workspace_logs`) shows what the command wrote until then"
    ))
}
