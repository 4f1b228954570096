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
use tokio::io::{AsyncWrite, ReadHalf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::bridge;
use crate::clock::now_ms;
use crate::folder;
use crate::handle::VmHandle;
use crate::usage::Lease;

/// How much longer than agreed the agent may take to end a command.
const END_MARGIN: Duration = Duration::from_secs(5);

/// How much longer than a command's own timeout the guest may take to enforce it, before it is taken
/// for lost.
const TIMEOUT_GRACE: Duration = Duration::from_secs(15);

/// How long the agent may take to say whether a command runs.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that one question waits.
const MAX_WAIT: Duration = Duration::from_secs(600);

const SIGKILL: i32 = 9;

/// The jobs that run, by their numbers.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<HashMap<u64, Arc<Job>>>);

struct Job {
    state: watch::Sender<JobState>,
    /// Why it should end, once somebody wants that.
    end_cause: watch::Sender<Option<JobCause>>,
}

impl Jobs {
    fn table(&self) -> MutexGuard<'_, HashMap<u64, Arc<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every job, as its VM is about to be stopped.
    pub(crate) async fn end_all(&self) {
        let all: Vec<_> = self.table().values().map(Arc::clone).collect();
        for job in &all {
            job.request_end(JobCause::VmStopped);
        }
        for job in &all {
            job.over().await;
        }
    }

    fn find(&self, number: u64) -> Result<Arc<Job>, Fault> {
        let unknown = || Fault::new(FaultCode::NotFound, "the VM has no such command");
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
            end_cause: watch::Sender::default(),
        })
    }

    fn request_end(&self, why: JobCause) {
        self.end_cause.send_if_modified(|cause| {
            // Whoever asked first is the reason.
            let first = cause.is_none();
            cause.get_or_insert(why);
            first
        });
    }

    async fn end_requested(&self) -> JobCause {
        let mut end_cause = self.end_cause.subscribe();
        match end_cause
            .wait_for(Option::is_some)
            .await
            .map(|end_cause| *end_cause)
        {
            Ok(Some(end_cause)) => end_cause,
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
        let _ = timeout(Duration::from_millis(STOP_MS) + 2 * END_MARGIN, ended).await;
    }
}

/// Starts a job and stays with whoever holds it, until that lets go or is gone.
pub(crate) async fn start(
    mut client: UnixStream,
    vm: &Arc<VmHandle>,
    jobs: &Arc<Jobs>,
    request: JobStart,
) -> Result<(), FrameError> {
    let job = match begin(vm, jobs, request).await {
        Ok(job) => job,
        Err(fault) => return frame::write_message(&mut client, &ShimReply::Failed(fault)).await,
    };
    // Until it is let go its end is that of the connection, however this ends.
    let mut held = EndOnDrop(Some(&job));
    frame::write_message(&mut client, &ShimReply::Done).await?;
    let said: Result<JobControl, _> = frame::read_message(&mut client).await;
    if let Ok(JobControl::Detach) = said {
        held.0 = None;
        frame::write_message(&mut client, &ShimReply::Done).await?;
    }
    Ok(())
}

/// Ends a job when it is dropped.
struct EndOnDrop<'a>(Option<&'a Job>);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.0 {
            job.request_end(JobCause::CallerGone);
        }
    }
}

async fn begin(vm: &Arc<VmHandle>, jobs: &Arc<Jobs>, request: JobStart) -> Result<Arc<Job>, Fault> {
    let refused = |words: String| Fault::new(FaultCode::Refused, words);
    let lease = vm.usage().connection();
    let many = |words: String| Fault::new(FaultCode::TooMany, words);
    let lease = lease.ok_or_else(|| many("too many connections to the guest are open".into()))?;
    let job = Job::new();
    {
        let mut table = jobs.table();
        let run = table.values().filter(|job| job.runs()).count();
        if run >= MAX_JOBS {
            let words = format!("{MAX_JOBS} commands are already running in the VM");
            return Err(many(words));
        }
        if table.contains_key(&request.job) {
            return Err(refused("a command of this number runs already".into()));
        }
        table.insert(request.job, Arc::clone(&job));
    }
    let number = request.job;
    let begun = timeout(START_TIMEOUT, ask(vm, &request)).await;
    let broken = |why: String| Fault::new(FaultCode::GuestDied, why);
    let begun = begun.unwrap_or_else(|_| Err(broken("the guest did not answer in time".into())));
    let (stream, first) = begun.inspect_err(|_| drop(jobs.table().remove(&number)))?;
    let (task_vm, jobs) = (Arc::clone(vm), Arc::clone(jobs));
    let task_job = Arc::clone(&job);
    vm.tasks.spawn(async move {
        follow(&task_vm, &jobs, &task_job, lease, stream, first, request).await
    });
    Ok(job)
}

/// Has the agent start the command; says what it told first, where that was not the start itself.
async fn ask(vm: &VmHandle, request: &JobStart) -> Result<(Stream, Option<Frame>), Fault> {
    let broken = |error: FrameError| Fault::new(FaultCode::GuestDied, error.to_string());
    let mut stream = vm.open().await?;
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
async fn follow(
    vm: &VmHandle,
    jobs: &Jobs,
    job: &Job,
    _lease: Lease,
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
    let mut kept = output_files(request.job).map(|name| CapturedStream {
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
        let heard = read_events(from, first, &mut kept, job);
        let ended = drive(job, to, exec.input.then_some(input), limit);
        tokio::select! {
            biased;
            () = vm.disconnected().cancelled() => None,
            // Without an end the stream broke: its VM has died, or is about to.
            exec = heard => exec.map(|exec| (exec, *job.end_cause.borrow())),
            abandoned = ended => {
                if abandoned == Abandoned::Stuck {
                    vm.request_end().await;
                }
                Some((abandoned.end(started.elapsed()), *job.end_cause.borrow()))
            }
        }
    };
    let mut recorded = true;
    if let Some((exec, end_cause)) = ended {
        let end = JobEnd {
            exec,
            cause: end_cause.unwrap_or(JobCause::Itself),
            at_ms: now_ms(),
            written: kept.each_ref().map(|kept| kept.written),
            tails: kept.map(CapturedStream::into_tail),
        };
        // Where it cannot be written, on a full disk for one, it is told to whoever asks.
        recorded = folder::write_atomically(&folder.join(end_file(request.job)), &end).is_ok();
        job.state.send_modify(|state| state.end = Some(end));
    }
    if recorded {
        jobs.table().remove(&request.job);
    }
}

/// Takes what the agent tells, until the end of the command. `None`: there is nobody to tell it.
async fn read_events(
    mut from: ReadHalf<Stream>,
    first: Option<Frame>,
    kept: &mut [CapturedStream; 2],
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
enum Abandoned {
    Killed,
    /// The guest does not end it in time: only the end of the VM is its end.
    Stuck,
}

impl Abandoned {
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
    mut to: impl AsyncWrite + Unpin,
    input: Option<&pyro_wire::Bytes>,
    limit: Option<Duration>,
) -> Abandoned {
    // The agent reads in order, and takes all of the input whether the command does or not.
    let say = async {
        if let Some(input) = input {
            // Input that cannot be delivered is the command's business.
            let _ = feed(&mut to, input).await;
        }
        job.end_requested().await;
        let _ = frame::write_message(&mut to, &ExecControl::End).await;
        std::future::pending::<()>().await;
    };
    let stuck = async {
        match limit {
            Some(limit) => sleep(limit.saturating_add(TIMEOUT_GRACE)).await,
            None => std::future::pending().await,
        }
    };
    let given_up = async {
        // One that nobody has let go is as that of any caller who goes away.
        if job.end_requested().await != JobCause::CallerGone {
            sleep(Duration::from_millis(STOP_MS) + END_MARGIN).await;
        }
    };
    tokio::select! {
        biased;
        () = given_up => Abandoned::Killed,
        () = stuck => Abandoned::Stuck,
        () = say => unreachable!("saying never ends"),
    }
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
    vm: &VmHandle,
    jobs: &Jobs,
    request: JobWait,
) -> Result<(), FrameError> {
    let reply = match jobs.find(request.job) {
        Ok(job) => {
            let mut state = job.state.subscribe();
            let gone = bridge::closed(&client)?;
            let news = state.wait_for(|state| {
                state.end.is_some()
                    || (0..2).any(|stream| state.written[stream] > request.seen[stream])
            });
            let patience = Duration::from_millis(request.timeout_ms).min(MAX_WAIT);
            tokio::select! {
                _ = timeout(patience, news) => {}
                () = gone => return Ok(()),
                () = vm.disconnected().cancelled() => {}
            }
            ShimReply::Job(Box::new(job.state.borrow().clone()))
        }
        Err(fault) => ShimReply::Failed(fault),
    };
    frame::write_message(&mut client, &reply).await
}

/// Ends a job and everything that it started.
pub(crate) async fn stop(jobs: &Jobs, number: u64) -> ShimReply {
    let job = match jobs.find(number) {
        Ok(job) => job,
        Err(fault) => return ShimReply::Failed(fault),
    };
    job.request_end(JobCause::Asked);
    job.over().await;
    let state = job.state.borrow().clone();
    ShimReply::Job(Box::new(state))
}

/// What is kept of one stream: its beginning in a file, and its end for the time behind that.
struct CapturedStream {
    path: PathBuf,
    /// Made with the first byte.
    file: Option<File>,
    written: u64,
    most: u64,
    /// Only of what is not in the file.
    tail: VecDeque<u8>,
}

impl CapturedStream {
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

    #[tokio::test]
    async fn a_wish_to_end_waits_for_the_input_and_is_said_behind_it() {
        let job = Job::new();
        let input = pyro_wire::Bytes::from(vec![b'x'; 5 * DATA_CHUNK + 1]);
        let (to, mut guest) = tokio::io::duplex(DATA_CHUNK / 2);
        job.request_end(JobCause::Asked);
        let heard = async {
            let mut length = 0;
            loop {
                let frame = frame::read(&mut guest).await.unwrap().unwrap();
                match frame.kind {
                    Kind::Input => length += frame.body.len(),
                    _ => match frame.message().unwrap() {
                        ExecControl::InputEnd => {}
                        other => return (length, other),
                    },
                }
            }
        };
        tokio::select! {
            given_up = drive(&job, to, Some(&input), None) => panic!("{given_up:?}"),
            heard = heard => assert_eq!(heard, (input.len(), ExecControl::End)),
        }
    }

    #[test]
    fn a_file_holds_the_beginning_and_the_tail_what_is_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = CapturedStream {
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
