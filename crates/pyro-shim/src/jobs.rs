//! Jobs: commands that this process is the caller of, so that they go on when whoever wanted them
//! has gone, and what they write is on this host whatever becomes of the guest.
//!
//! ```text
//! JobStart ▶ agent runs it ▶ held ── LetGo ──▶ the shim's own
//!                             │                  │ its end, its time over, JobStop, VM stopped
//!     the connection is gone  ▼                  ▼
//!                           ended            end written, then told
//! ```
//!
//! A job whose VM dies writes no end: whoever finds the VM gone and no end knows what that means.
//! The guest is not believed: what is kept is bounded here.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyro_wire::agent::AgentRequest;
use pyro_wire::exec::{ExecControl, ExecEnd, ExecEvent};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, DATA_CHUNK, Frame, FrameError, Kind};
use pyro_wire::jobs::{
    JobCause, JobControl, JobEnd, JobStart, JobState, JobWait, MAX_JOBS, TAIL_BYTES, end_file,
    output_files,
};
use pyro_wire::service::STOP_MS;
use pyro_wire::session::Stream;
use pyro_wire::shim::ShimReply;
use tokio::io::{AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::bridge;
use crate::control::Shared;
use crate::folder;
use crate::supervisor::now_ms;
use crate::usage::Line;

/// How much longer than agreed the agent may take to end a command.
const MARGIN: Duration = Duration::from_secs(5);

/// How much longer than a command's own timeout the guest may take to enforce it, before it is taken
/// for lost.
const GUEST_GRACE: Duration = Duration::from_secs(15);

/// How long the agent may take to say whether a command runs.
const START: Duration = Duration::from_secs(30);

/// The longest that one question waits.
const PATIENCE: Duration = Duration::from_secs(600);

const SIGKILL: i32 = 9;

/// The jobs that run, by their numbers.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<HashMap<u64, Arc<Job>>>);

struct Job {
    state: watch::Sender<JobState>,
    /// Why it should end, once somebody wants that.
    wish: watch::Sender<Option<JobCause>>,
}

impl Jobs {
    fn table(&self) -> MutexGuard<'_, HashMap<u64, Arc<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every job, as its VM is about to be stopped.
    pub(crate) async fn end_all(&self) {
        let all: Vec<_> = self.table().values().map(Arc::clone).collect();
        for job in &all {
            job.ask_to_end(JobCause::VmStopped);
        }
        for job in &all {
            job.over().await;
        }
    }

    fn find(&self, number: u64) -> Result<Arc<Job>, Fault> {
        let unknown = || Fault::new(FaultCode::NotFound, "the VM runs no such command");
        self.table()
            .get(&number)
            .map(Arc::clone)
            .ok_or_else(unknown)
    }
}

impl Job {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: watch::Sender::default(),
            wish: watch::Sender::default(),
        })
    }

    fn ask_to_end(&self, why: JobCause) {
        self.wish.send_if_modified(|wished| {
            // Whoever asked first is the reason.
            let first = wished.is_none();
            wished.get_or_insert(why);
            first
        });
    }

    async fn asked_to_end(&self) -> JobCause {
        let mut wish = self.wish.subscribe();
        match wish.wait_for(Option::is_some).await.map(|wish| *wish) {
            Ok(Some(wish)) => wish,
            // The sender lives as long as this does.
            _ => std::future::pending().await,
        }
    }

    fn runs(&self) -> bool {
        self.state.borrow().end.is_none()
    }

    async fn over(&self) {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| state.end.is_some());
        let _ = timeout(Duration::from_millis(STOP_MS) + 2 * MARGIN, ended).await;
    }
}

/// Starts a job and stays with whoever holds it, until that lets go or is gone.
pub(crate) async fn start(
    mut client: UnixStream,
    shared: &Arc<Shared>,
    request: JobStart,
) -> Result<(), FrameError> {
    let job = match begin(shared, request).await {
        Ok(job) => job,
        Err(fault) => return frame::write_message(&mut client, &ShimReply::Failed(fault)).await,
    };
    // Until it is let go its end is that of the connection, however this ends.
    let mut held = Held(Some(&job));
    frame::write_message(&mut client, &ShimReply::Done).await?;
    let said: Result<JobControl, _> = frame::read_message(&mut client).await;
    if let Ok(JobControl::Detach) = said {
        held.0 = None;
        frame::write_message(&mut client, &ShimReply::Done).await?;
    }
    Ok(())
}

/// Ends a job when it is dropped.
struct Held<'a>(Option<&'a Job>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.0 {
            job.ask_to_end(JobCause::CallerGone);
        }
    }
}

async fn begin(shared: &Arc<Shared>, request: JobStart) -> Result<Arc<Job>, Fault> {
    let refused = |words: String| Fault::new(FaultCode::Refused, words);
    let line = shared.usage().line();
    let many = |words: String| Fault::new(FaultCode::TooMany, words);
    let line = line.ok_or_else(|| many("too many connections to the guest are open".into()))?;
    let job = Job::new();
    {
        let mut table = shared.jobs.table();
        let run = table.values().filter(|job| job.runs()).count();
        if run >= MAX_JOBS {
            let words = format!("{MAX_JOBS} commands go on in the VM already");
            return Err(many(words));
        }
        if table.contains_key(&request.job) {
            return Err(refused("a command of this number runs already".into()));
        }
        table.insert(request.job, Arc::clone(&job));
    }
    let number = request.job;
    let begun = timeout(START, ask(shared, &request)).await;
    let broken = |why: String| Fault::new(FaultCode::GuestDied, why);
    let begun = begun.unwrap_or_else(|_| Err(broken("the guest gave no answer in time".into())));
    let (stream, first) = begun.inspect_err(|_| drop(shared.jobs.table().remove(&number)))?;
    let keeper = Arc::clone(shared);
    let life = Arc::clone(&job);
    shared
        .tasks
        .spawn(async move { live(&keeper, &life, line, stream, first, request).await });
    Ok(job)
}

/// Has the agent start the command; says what it told first, where that was not the start itself.
async fn ask(shared: &Shared, request: &JobStart) -> Result<(Stream, Option<Frame>), Fault> {
    let broken = |error: FrameError| Fault::new(FaultCode::GuestDied, error.to_string());
    let mut stream = shared.open().await?;
    let exec = AgentRequest::Exec(request.exec.clone());
    frame::write_message(&mut stream, &exec)
        .await
        .map_err(broken)?;
    let first = frame::read(&mut stream).await.map_err(broken)?;
    let first = first.ok_or_else(|| broken(FrameError::Ended))?;
    if first.kind != Kind::Message {
        // Of a program that is not there.
        return Ok((stream, Some(first)));
    }
    match first.message().map_err(broken)? {
        ExecEvent::Started { .. } => Ok((stream, None)),
        ExecEvent::Failed(fault) => Err(fault),
        ExecEvent::Ended(_) => Ok((stream, Some(first))),
    }
}

/// Follows a job to its end, and writes that down before it tells it.
async fn live(
    shared: &Shared,
    job: &Job,
    _line: Line,
    stream: Stream,
    first: Option<Frame>,
    request: JobStart,
) {
    let JobStart {
        exec,
        input,
        folder,
        ..
    } = &request;
    let mut kept = output_files(request.job).map(|name| Kept {
        path: folder.join(name),
        file: None,
        written: 0,
        most: request.max_bytes,
        tail: VecDeque::new(),
    });
    let limit = exec.timeout_ms.map(Duration::from_millis);
    let started = Instant::now();
    let (from, to) = tokio::io::split(stream);
    let ended = {
        let heard = hear(from, first, &mut kept, job);
        let ended = drive(job, to, exec.input.then_some(input), limit);
        tokio::select! {
            biased;
            () = shared.cut().cancelled() => None,
            // Without an end the stream broke: its VM has died, or is about to.
            exec = heard => exec.map(|exec| (exec, *job.wish.borrow())),
            given_up = ended => {
                if given_up == GivenUp::Stuck {
                    shared.ask_for_the_end().await;
                }
                Some((given_up.end(started.elapsed()), *job.wish.borrow()))
            }
        }
    };
    let mut told = true;
    if let Some((exec, wish)) = ended {
        let end = JobEnd {
            exec,
            cause: wish.unwrap_or(JobCause::Itself),
            at_ms: now_ms(),
            written: kept.each_ref().map(|kept| kept.written),
            tails: kept.map(Kept::into_tail),
        };
        // Where it cannot be written, on a full disk for one, it is told to whoever asks.
        told = folder::write_whole(&folder.join(end_file(request.job)), &end).is_ok();
        job.state.send_modify(|state| state.end = Some(end));
    }
    if told {
        shared.jobs.table().remove(&request.job);
    }
}

/// Takes what the agent tells, until the end of the command. `None`: there is nobody to tell it.
async fn hear(
    mut from: ReadHalf<Stream>,
    first: Option<Frame>,
    kept: &mut [Kept; 2],
    job: &Job,
) -> Option<ExecEnd> {
    let mut next = first;
    loop {
        let frame = match next.take() {
            Some(frame) => frame,
            None => frame::read(&mut from).await.ok()??,
        };
        let stream = match frame.kind {
            Kind::Output => &mut kept[0],
            Kind::ErrorOutput => &mut kept[1],
            Kind::Input => return None,
            Kind::Message => match frame.message().ok()? {
                ExecEvent::Ended(end) => return Some(end),
                ExecEvent::Started { .. } => continue,
                ExecEvent::Failed(_) => return None,
            },
        };
        stream.push(&frame.body);
        let written = kept.each_ref().map(|kept| kept.written);
        job.state.send_modify(|state| state.written = written);
    }
}

/// Why a command is not waited for any longer. Dropping its stream kills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GivenUp {
    Killed,
    /// The guest does not end it in time: only the end of the VM is its end.
    Stuck,
}

impl GivenUp {
    fn end(self, lasted: Duration) -> ExecEnd {
        let timed_out = self == Self::Stuck;
        ExecEnd {
            exit_code: if timed_out { 124 } else { 128 + SIGKILL },
            signal: (!timed_out).then_some(SIGKILL),
            timed_out,
            oom_killed: false,
            duration_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
            laps: Vec::new(),
        }
    }
}

/// Gives a command its input, and ends it when that is wanted.
async fn drive(
    job: &Job,
    mut to: WriteHalf<Stream>,
    input: Option<&pyro_wire::Bytes>,
    limit: Option<Duration>,
) -> GivenUp {
    let mut fed = input.is_none();
    let wish = {
        let feeding = async {
            if let Some(input) = input {
                // Input that cannot be delivered is the command's business.
                let _ = feed(&mut to, input).await;
            }
            fed = true;
            std::future::pending::<()>().await;
        };
        let stuck = async {
            match limit {
                Some(limit) => sleep(limit.saturating_add(GUEST_GRACE)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = feeding => unreachable!("feeding never ends"),
            () = stuck => return GivenUp::Stuck,
            wish = job.asked_to_end() => wish,
        }
    };
    // The agent reads in order: behind input that it does not take a command hears nothing, and is
    // killed.
    if wish != JobCause::CallerGone && fed {
        let asked = frame::write_message(&mut to, &ExecControl::End).await;
        if asked.is_ok() {
            sleep(Duration::from_millis(STOP_MS) + MARGIN).await;
        }
    }
    GivenUp::Killed
}

async fn feed(to: &mut (impl AsyncWrite + Unpin), input: &[u8]) -> Result<(), FrameError> {
    for piece in input.chunks(DATA_CHUNK) {
        frame::write_data(to, Kind::Input, piece).await?;
    }
    frame::write_message(to, &ExecControl::InputEnd).await
}

/// Answers when a job has news, or when the patience of whoever asks is over.
pub(crate) async fn wait(
    mut client: UnixStream,
    shared: &Shared,
    request: JobWait,
) -> Result<(), FrameError> {
    let reply = match shared.jobs.find(request.job) {
        Ok(job) => {
            let mut state = job.state.subscribe();
            let gone = bridge::closed(&client)?;
            let news = state.wait_for(|state| {
                state.end.is_some()
                    || (0..2).any(|stream| state.written[stream] > request.seen[stream])
            });
            let patience = Duration::from_millis(request.timeout_ms).min(PATIENCE);
            tokio::select! {
                _ = timeout(patience, news) => {}
                () = gone => return Ok(()),
                () = shared.cut().cancelled() => {}
            }
            ShimReply::Job(Box::new(job.state.borrow().clone()))
        }
        Err(fault) => ShimReply::Failed(fault),
    };
    frame::write_message(&mut client, &reply).await
}

/// Ends a job and everything that it started.
pub(crate) async fn stop(shared: &Shared, number: u64) -> ShimReply {
    let job = match shared.jobs.find(number) {
        Ok(job) => job,
        Err(fault) => return ShimReply::Failed(fault),
    };
    job.ask_to_end(JobCause::Asked);
    job.over().await;
    let state = job.state.borrow().clone();
    ShimReply::Job(Box::new(state))
}

/// What is kept of one stream: its beginning in a file, and its end for the time behind that.
struct Kept {
    path: PathBuf,
    /// Made with the first byte.
    file: Option<File>,
    written: u64,
    most: u64,
    /// Only of what is not in the file.
    tail: VecDeque<u8>,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        let room = usize::try_from(self.most.saturating_sub(self.written)).unwrap_or(usize::MAX);
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.written += bytes.len() as u64;
        if !first.is_empty() && self.write(first).is_err() {
            // On a full disk, for one; output is not worth ending a command for. What comes now is
            // not kept either: a file has no gaps.
            self.most = 0;
        }
        self.tail.extend(rest);
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let new = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&self.path)?;
                self.file.insert(new)
            }
        };
        file.write_all(bytes)
    }

    fn into_tail(self) -> pyro_wire::Bytes {
        Vec::from(self.tail).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_the_beginning_and_the_tail_what_is_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept {
            path: folder.path().join("out"),
            file: None,
            written: 0,
            most: 5,
            tail: VecDeque::new(),
        };
        kept.push(b"");
        assert!(!kept.path.exists());
        kept.push(b"abc");
        kept.push(b"defg");
        kept.push(&vec![b'x'; TAIL_BYTES]);
        kept.push(b"end");
        assert_eq!(std::fs::read(&kept.path).unwrap(), b"abcde");
        assert_eq!(kept.written, 7 + TAIL_BYTES as u64 + 3);
        let tail = kept.into_tail();
        assert_eq!(tail.len(), TAIL_BYTES);
        assert!(tail.ends_with(b"xxend"));
    }
}
