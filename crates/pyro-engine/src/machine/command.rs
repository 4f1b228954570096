//! One command in a running VM: its output as it comes, its input as it is wanted, its end.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant};

use pyro_api::values::{CommandLine, EnvVars, TimeoutSeconds, User, VmRecord};
use pyro_api::{Caller, Error, Event, Stream};
use pyro_wire::agent::AgentRequest;
use pyro_wire::exec::{Command, Exec, ExecControl, ExecEnd, ExecEvent};
use pyro_wire::fault::Fault;
use pyro_wire::frame::{self, FrameError, Kind};
use pyro_wire::service::STOP_MS;
use pyro_wire::{Bytes, reached, step};
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::output::{CapturedOutput, LastWords};
use crate::image_config;
use crate::workspace::paths::WorkingDir;

/// How much longer than the command's own timeout the host waits for the guest to enforce it,
/// before it takes the guest for lost.
pub(crate) const GUEST_GRACE: Duration = Duration::from_secs(15);

/// How long a command that was asked to end may take: the agent asks, kills, and tells.
const ENDING_LIMIT: Duration = Duration::from_millis(STOP_MS + 2_000);

const SIGKILL: i32 = 9;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("the connection to the guest was lost")]
    Broken {
        #[source]
        source: FrameError,
    },
    /// The stream ended before the command did: the VM is gone.
    #[error("the guest ended before the command did")]
    VmGone,
    #[error(transparent)]
    Refused { fault: Fault },
    #[error("the call was cancelled")]
    CallerGone,
}

/// What a command did and wrote.
pub(crate) struct Finished {
    pub(crate) end: ExecEnd,
    pub(crate) stdout: CapturedOutput,
    pub(crate) stderr: CapturedOutput,
    /// Of standard error, or of the terminal.
    pub(crate) last_words: LastWords,
    /// The guest did not end it in time, nor did it say anything more: only the end of the VM is
    /// the end of the command.
    pub(crate) runs_on: bool,
    /// Whether it was asked to end because its caller was interrupted.
    pub(crate) interrupted: bool,
}

/// A command, and how it is to be run.
#[derive(Clone, Debug)]
pub(crate) struct CommandSpec<'a> {
    pub(crate) command: &'a CommandLine,
    pub(crate) folder: WorkingDir,
    pub(crate) env: &'a EnvVars,
    /// Who runs it; the agent, which is root, without one.
    pub(crate) user: Option<Bytes>,
    /// Secrets of the guest, each with the variable that shows it to the command.
    pub(crate) secret_env: &'a [(String, String)],
    /// None where a person sees how long it takes.
    pub(crate) timeout: Option<TimeoutSeconds>,
}

impl<'a> CommandSpec<'a> {
    /// Refuses a folder that there cannot be.
    pub(crate) fn of(
        command: &'a CommandLine,
        cwd: Option<&str>,
        env: &'a EnvVars,
        timeout: Option<TimeoutSeconds>,
    ) -> Result<Self, Error> {
        Ok(Self {
            command,
            folder: WorkingDir::parse(cwd)?,
            env,
            user: None,
            secret_env: &[],
            timeout,
        })
    }

    /// As whoever was asked for, or else whom the image has.
    pub(crate) fn run_by(self, asked: Option<&User>, metadata: &BTreeMap<String, String>) -> Self {
        Self {
            user: image_config::user_to_wire(asked, metadata),
            ..self
        }
    }

    /// The same, in the folder of the image that the VM was made from where the call says none.
    pub(super) fn in_image_of(&self, record: &VmRecord, asked: Option<&User>) -> Self {
        let of_image = image_config::working_dir(&record.metadata);
        let of_image = of_image.filter(|_| self.folder.is_default());
        // One that cannot be is no reason to refuse every command.
        let folder = of_image.and_then(|folder| WorkingDir::parse(Some(&folder)).ok());
        Self {
            folder: folder.unwrap_or_else(|| self.folder.clone()),
            ..self.clone()
        }
        .run_by(asked, &record.metadata)
    }

    /// How long the command may take.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.timeout
            .map(|limit| Duration::from_secs(limit.get().into()))
    }

    /// As the agent takes it.
    pub(crate) fn exec(&self, input: bool) -> Exec {
        Exec {
            command: to_wire(self.command),
            cwd: self.folder.bytes(),
            user: self.user.clone(),
            env: env_to_wire(self.env),
            secret_env: self.secret_env.to_vec(),
            timeout_ms: self.timeout.map(|limit| u64::from(limit.get()) * 1000),
            input,
            timings: step::is_enabled(),
        }
    }
}

/// A command as the agent takes it.
pub(crate) fn to_wire(command: &CommandLine) -> Command {
    match command {
        CommandLine::Shell(line) => Command::Shell(line.clone().into()),
        CommandLine::Program(words) => {
            Command::Program(words.iter().cloned().map(Into::into).collect())
        }
    }
}

/// Variables as the agent takes them.
pub(crate) fn env_to_wire(env: &EnvVars) -> Vec<(Bytes, Bytes)> {
    let bytes = |text: &str| Bytes::from(text.as_bytes());
    env.pairs()
        .map(|(name, value)| (bytes(name), bytes(value)))
        .collect()
}

/// Runs a command over a stream to the agent. Dropping the future ends the command.
pub(crate) async fn run(
    stream: UnixStream,
    spec: &CommandSpec<'_>,
    caller: &Caller,
) -> Result<Finished, CommandError> {
    let broken = |source| CommandError::Broken { source };
    let (mut from_guest, mut to_guest) = stream.into_split();
    let input = caller.take_input();
    let time = spec.limit().unwrap_or(Duration::MAX);
    let exec = AgentRequest::Exec(spec.exec(input.is_some()));
    let asked_us = step::now_us();
    frame::write_message(&mut to_guest, &exec)
        .await
        .map_err(broken)?;
    reached!("command asked for");

    let mut stdout = CapturedOutput::new(caller.keep_output());
    let mut stderr = CapturedOutput::new(caller.keep_output());
    let mut last_words = LastWords::default();
    let begun = Instant::now();
    let mut interrupted = false;
    let ended = {
        let output = async {
            loop {
                let frame = frame::read(&mut from_guest)
                    .await
                    .map_err(vm_gone)?
                    .ok_or(CommandError::VmGone)?;
                let (stream, kept) = match frame.kind {
                    Kind::Output => (Stream::Stdout, &mut stdout),
                    Kind::ErrorOutput => (Stream::Stderr, &mut stderr),
                    Kind::Message | Kind::Input => match frame.message().map_err(broken)? {
                        ExecEvent::Ended(end) => return Ok(end),
                        ExecEvent::Failed(fault) => return Err(CommandError::Refused { fault }),
                        ExecEvent::Started { .. } => {
                            reached!("command started");
                            continue;
                        }
                    },
                };
                kept.push(&frame.body);
                if stream == Stream::Stderr {
                    last_words.push(&frame.body);
                }
                let bytes = &frame.body;
                caller
                    .emit(Event::Output { stream, bytes })
                    .map_err(|_| CommandError::CallerGone)?;
            }
        };
        // Input that cannot be delivered is the command's business, not a failure of the call.
        let feed = async {
            if let Some(input) = input {
                let _ = feed(&mut to_guest, input, caller).await;
            }
            caller.command_is_to_end().await;
            interrupted = true;
            let _ = frame::write_message(&mut to_guest, &ExecControl::End).await;
            std::future::pending::<()>().await;
        };
        // A command that leaves its input unread may hear nothing behind it; it ends with its stream.
        let given_up = async {
            caller.command_is_to_end().await;
            sleep(ENDING_LIMIT).await;
        };
        tokio::select! {
            ended = timeout(time.saturating_add(GUEST_GRACE), output) => ended,
            () = feed => unreachable!("feeding never ends"),
            () = given_up => Ok(Ok(killed(begun.elapsed()))),
        }
    };
    let (end, runs_on) = match ended {
        Ok(end) => (end?, false),
        Err(_) => (out_of_time(time), true),
    };
    for lap in &end.laps {
        step::forward(&lap.since(asked_us));
    }
    reached!("command ended");
    Ok(Finished {
        end,
        stdout,
        stderr,
        last_words,
        runs_on,
        interrupted,
    })
}

/// The end of a command that the guest did not end in its time.
pub(crate) fn out_of_time(time: Duration) -> ExecEnd {
    ExecEnd {
        exit_code: 124,
        signal: None,
        timed_out: true,
        oom_killed: false,
        duration_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        laps: Vec::new(),
    }
}

/// The end of a command that is killed: it did not end when it was asked to, or its person has gone.
pub(crate) fn killed(after: Duration) -> ExecEnd {
    ExecEnd {
        exit_code: 128 + SIGKILL,
        signal: Some(SIGKILL),
        timed_out: false,
        oom_killed: false,
        duration_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        laps: Vec::new(),
    }
}

pub(crate) fn vm_gone(error: FrameError) -> CommandError {
    match error {
        FrameError::CutOff | FrameError::Ended | FrameError::Io { .. } => CommandError::VmGone,
        source => CommandError::Broken { source },
    }
}

/// Sends input as the guest takes it, until the command is to end. The reading happens on a thread of
/// its own, because reading from a terminal or a pipe cannot be cancelled; the thread ends with the
/// input or the process.
async fn feed(
    to_guest: &mut (impl AsyncWrite + Unpin),
    mut input: Box<dyn Read + Send>,
    caller: &Caller,
) -> Result<(), FrameError> {
    let (pieces, mut queue) = mpsc::channel::<Vec<u8>>(2);
    std::thread::spawn(move || {
        let mut buffer = vec![0; frame::DATA_CHUNK];
        while let Ok(count @ 1..) = input.read(&mut buffer) {
            if pieces.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    // Between pieces: half of one would be the end of what the guest understands.
    loop {
        let piece = tokio::select! {
            biased;
            () = caller.command_is_to_end() => return Ok(()),
            piece = queue.recv() => piece,
        };
        let Some(piece) = piece else { break };
        frame::write_data(to_guest, Kind::Input, &piece).await?;
    }
    frame::write_message(to_guest, &ExecControl::InputEnd).await
}
