//! Runs one command for one stream.
//!
//! ```text
//! start ──▶ Started ──▶ running: output flows out, input and signals in
//!   │                      │ process ended      │ timeout, or       │ asking side gone
//!   ▼                      ▼                    ▼ asked to end      ▼
//! Failed, or           rest of the output   whole group ended,   whole group killed
//! 127 and 126          Ended                rest, Ended          (by dropping the group)
//!
//! To end a group is to ask it, and to kill what has not ended after a while.
//! ```
//!
//! After a normal end, background processes of the command live on.

use std::future::pending;
use std::pin::pin;
use std::time::{Duration, Instant};

use pyro_wire::exec::{Exec, ExecControl, ExecEnd, ExecEvent};
use pyro_wire::frame::{self, FrameError, Kind};
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use crate::agent::Agent;
use crate::clock::Laps;
use crate::command::StartError;
use crate::group::Group;
use crate::input;
use crate::launcher::Process;
use crate::output::Outputs;
use crate::peer::{Peer, Reader, Writer};
use crate::reaper::Exit;
use crate::terminate::terminate;

/// The exit status of a command that was out of time.
const TIMED_OUT: i32 = 124;

/// Runs a command to its end and tells the asking side all about it. What is left is the command's
/// group, to be cleared away by dropping it, when nobody waits any more.
///
/// Dropping this kills the command and everything that it started.
pub(crate) async fn run<'a, P: Peer>(
    agent: &'a Agent,
    request: Exec,
    from: &mut Reader<P>,
    to: &mut Writer<P>,
) -> Result<Option<Group<'a>>, FrameError> {
    let started_at = Instant::now();
    let mut laps = Laps::begin(request.timings);
    let launch = || agent.launcher.start(&request, &mut laps);
    let Some((pipes, Process { group, exit, .. })) = start(agent, launch, to).await? else {
        return Ok(None);
    };
    laps.reached("start told");

    let limit = request.timeout_ms.map(Duration::from_millis);
    let mut outputs = Outputs::new(pipes.stdout, pipes.stderr, &agent.launcher.secrets);
    let (exited, asked) = (Notify::new(), Notify::new());
    let ended = async {
        let end = supervise(exit, &group, limit, &asked, started_at).await;
        laps.reached("ended");
        end
    };
    let watched = input::follow(from, pipes.stdin, |control| match control {
        ExecControl::Signal(number) => group.signal(number),
        ExecControl::End => asked.notify_one(),
        // A command without a terminal has no size.
        ExecControl::InputEnd | ExecControl::Resize(_) => {}
    });
    let forwarded = outputs.forward(to, &exited);
    let mut end = finish(ended, &exited, forwarded, watched).await?;
    end.oom_killed = group.memory_events().oom_killed();
    let group = group.release();
    outputs.discard();
    laps.reached("output read");
    end.laps = laps.finish();
    frame::write_message(to, &ExecEvent::Ended(end)).await?;
    Ok(Some(group))
}

/// Launches a command and tells that it runs, or why it does not.
///
/// What the command writes to comes before its process: it is dropped after it, as a terminal that
/// is hung up first would scatter what is to be killed.
pub(crate) async fn start<'a, T, P: Peer>(
    agent: &Agent,
    launch: impl FnOnce() -> Result<(T, Process<'a>), StartError>,
    to: &mut Writer<P>,
) -> Result<Option<(T, Process<'a>)>, FrameError> {
    agent.launcher.starts.allowed().await;
    let ready = agent.lifecycle.ready_for("commands");
    match ready.map_err(StartError::from).and_then(|()| launch()) {
        Ok((outside, process)) => {
            let started = ExecEvent::Started { pid: process.pid() };
            frame::write_message(to, &started).await?;
            Ok(Some((outside, process)))
        }
        Err(error) => not_started(agent, &error, to).await.map(|()| None),
    }
}

/// Waits until a command has ended and what it wrote is forwarded. Whoever is `watched` may be gone
/// before that.
pub(crate) async fn finish(
    ended: impl Future<Output = ExecEnd>,
    exited: &Notify,
    forwarded: impl Future<Output = Result<(), FrameError>>,
    watched: impl Future<Output = ()>,
) -> Result<ExecEnd, FrameError> {
    let ended = async {
        let end = ended.await;
        exited.notify_one();
        end
    };
    let finished = async {
        let (end, forwarded) = tokio::join!(ended, forwarded);
        forwarded.map(|()| end)
    };
    let (finished, watched) = (pin!(finished), pin!(watched));
    tokio::select! {
        biased;
        end = finished => end,
        // The group of the command kills as it drops.
        () = watched => Err(FrameError::Ended),
    }
}

/// Answers for a command that never ran: as a shell would have, where it would have.
async fn not_started<P: Peer>(
    agent: &Agent,
    error: &StartError,
    to: &mut Writer<P>,
) -> Result<(), FrameError> {
    let Some(exit_code) = error.exit_code() else {
        return frame::write_message(to, &ExecEvent::Failed(error.fault())).await;
    };
    let words = format!("pyro: {error}\n");
    let words = agent.launcher.secrets.redact(&words);
    frame::write_data(to, Kind::ErrorOutput, words.as_bytes()).await?;
    let end = ExecEnd {
        exit_code,
        signal: None,
        timed_out: false,
        oom_killed: false,
        duration_ms: 0,
        laps: Vec::new(),
    };
    frame::write_message(to, &ExecEvent::Ended(end)).await
}

/// Waits for the process, but not beyond its time, nor longer than it is wanted.
pub(crate) async fn supervise(
    mut exit: oneshot::Receiver<Exit>,
    group: &Group<'_>,
    limit: Option<Duration>,
    asked: &Notify,
    started_at: Instant,
) -> ExecEnd {
    let (exit, timed_out) = tokio::select! {
        biased;
        exit = &mut exit => (exit.ok(), false),
        () = asked.notified() => (terminate(group, &mut exit).await.0, false),
        () = wait(limit) => (terminate(group, &mut exit).await.0, true),
    };
    let (exit_code, signal) = match exit {
        Some(Exit::Code(code)) => (code, None),
        Some(Exit::Signal(number)) => (128 + number, Some(number)),
        // It was killed, though it has not noticed yet.
        None => (128 + libc::SIGKILL, Some(libc::SIGKILL)),
    };
    ExecEnd {
        exit_code: if timed_out { TIMED_OUT } else { exit_code },
        signal,
        timed_out,
        oom_killed: false,
        duration_ms: u64::try_from(started_at.elapsed().as_millis()).unwrap_or(u64::MAX),
        laps: Vec::new(),
    }
}

async fn wait(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => pending().await,
    }
}
