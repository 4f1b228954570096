//! The agent that serves the files of a sandbox's disk while the sandbox runs: started when somebody asks
//! for it, one for all who do.
//!
//! It works on the disk that the sandbox's server of files works on, so each sees at once what the other
//! changes. It ends with the sandbox, with the shim, or when nobody has asked for long.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use nix::sys::signal::Signal;
use pyro_namespace::{Child, Killer};
use pyro_wire::fault::{Fault, FaultCode};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::passing::{Passage, PassingChannel};
use crate::THIS_PROGRAM;
use crate::backend::child::{Inherit, spawn};
use crate::backend::{FilesServer, Line};
use crate::console::{ERROR_BYTES, Tail};
use crate::guest::{self, Guest};
use crate::handle::vm_over;

/// How long it may take until the agent answers, and to accept one more line.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a change of files that is under way may take to come to its end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(25);

/// How long a killed one may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the files of one sandbox.
pub(super) struct Beside {
    /// The first process of the sandbox, by a pidfd.
    sandbox: OwnedFd,
    mem_mib: u32,
    /// After so long without a line the agent ends.
    idle: Duration,
    state: Mutex<State>,
}

enum State {
    Idle,
    Serving(Serving),
    /// The sandbox is about to end.
    Closed,
}

/// An agent that answers.
struct Serving {
    agent: Guest,
    passage: Passage,
    killer: Killer,
    ended: CancellationToken,
    /// Each line holds one more.
    lines: Arc<()>,
    /// How many lines there ever were.
    opened: u64,
    _log: Tail,
}

impl Beside {
    pub(super) fn new(sandbox: &Child, mem_mib: u32, idle: Duration) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            sandbox: sandbox.as_fd().try_clone_to_owned()?,
            mem_mib,
            idle,
            state: Mutex::new(State::Idle),
        }))
    }

    async fn open_line(self: &Arc<Self>) -> Result<Line, Fault> {
        let mut state = self.state.lock().await;
        match &mut *state {
            State::Closed => return Err(vm_over()),
            State::Serving(serving) => match serving.line().await {
                Ok(line) => return Ok(line),
                // It has ended, or is of no use: another one takes its place.
                Err(_) => serving.killer.kill(),
            },
            State::Idle => {}
        }
        *state = State::Idle;
        let mut serving = timeout(START_TIMEOUT, self.start())
            .await
            .unwrap_or_else(|_| Err(failed("it does not answer")))?;
        let line = serving.line().await?;
        self.end_when_idle(Arc::downgrade(&serving.lines));
        *state = State::Serving(serving);
        Ok(line)
    }

    async fn start(&self) -> Result<Serving, Fault> {
        let (channel, theirs) = StdUnixStream::pair().map_err(failed)?;
        channel.set_nonblocking(true).map_err(failed)?;
        let channel = UnixStream::from_std(channel).map_err(failed)?;
        let channel = PassingChannel::new(channel);
        let passage = channel.passage();
        let (log, log_end) = io::pipe().map_err(failed)?;
        let log = Receiver::from_owned_fd(log.into()).map_err(failed)?;
        let mut log = Tail::follow(log, ERROR_BYTES);
        let child = match self.join(theirs.into(), log_end.into()).await {
            Ok(child) => child,
            Err(error) => {
                log.drain().await;
                let said = log.lines().pop();
                return Err(failed(said.unwrap_or_else(|| error.to_string())));
            }
        };
        let killer = child.killer().map_err(failed)?;
        let ended = collect(child).map_err(failed)?;
        // Whoever gives up waiting leaves nobody behind.
        let cancelled = KillOnDrop(Some(killer));
        let answered = tokio::select! {
            biased;
            answered = Guest::connect(Box::new(channel), "", &[], None, false, false) => answered,
            () = ended.cancelled() => {
                log.drain().await;
                let said = log.lines().pop();
                return Err(failed(said.unwrap_or_else(|| "it has ended".into())));
            }
        };
        let (agent, _) = answered.map_err(failed)?;
        Ok(Serving {
            agent,
            passage,
            killer: cancelled.keep().ok_or_else(vm_over)?,
            ended,
            lines: Arc::default(),
            opened: 0,
            _log: log,
        })
    }

    /// Starts the agent, by a process that ends when it has done so: see [`super::join`].
    async fn join(&self, channel: OwnedFd, log: OwnedFd) -> io::Result<Child> {
        let (mut told, to_tell) = io::pipe()?;
        let mut command = Command::new(THIS_PROGRAM);
        command
            .args(["shim", "--files"])
            .arg(self.sandbox.as_raw_fd().to_string())
            .arg(self.mem_mib.to_string())
            .env_clear()
            .stdin(channel)
            .stdout(to_tell)
            .stderr(log);
        let inherit = Inherit::SameNumbers(&[self.sandbox.as_fd()]);
        let mut joining = spawn(command, &inherit, Signal::SIGKILL)?;
        let status = joining.wait().await?;
        if !status.success() {
            return Err(io::Error::other(crate::backend::child::describe(status)));
        }
        // It is in the pipe by now, and the agent has not that end of it.
        let mut number = [0; 16];
        let count = told.read(&mut number)?;
        let number = std::str::from_utf8(&number[..count]).unwrap_or_default();
        let number = number.trim_end().parse().map_err(io::Error::other)?;
        Child::of_caller(number)
    }

    /// Ends the agent of these lines when there are none for long.
    fn end_when_idle(self: &Arc<Self>, lines: Weak<()>) {
        let beside = Arc::downgrade(self);
        let idle = self.idle;
        tokio::spawn(async move {
            let mut opened = 0;
            loop {
                sleep(idle).await;
                let Some(beside) = beside.upgrade() else {
                    return;
                };
                let mut state = beside.state.lock().await;
                let State::Serving(serving) = &*state else {
                    return;
                };
                // Another one has its place.
                if !lines.ptr_eq(&Arc::downgrade(&serving.lines)) {
                    return;
                }
                if serving.opened == opened && Arc::strong_count(&serving.lines) == 1 {
                    let State::Serving(serving) = std::mem::replace(&mut *state, State::Idle)
                    else {
                        return;
                    };
                    return serving.end().await;
                }
                opened = serving.opened;
            }
        });
    }
}

impl FilesServer for Beside {
    fn open(self: Arc<Self>) -> BoxFuture<'static, Result<Line, Fault>> {
        async move { self.open_line().await }.boxed()
    }

    fn close(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move {
            let mut state = self.state.lock().await;
            if let State::Serving(serving) = std::mem::replace(&mut *state, State::Closed) {
                serving.end().await;
            }
        }
        .boxed()
    }
}

impl Serving {
    async fn line(&mut self) -> Result<Line, Fault> {
        let opener = self.agent.opener();
        let opened = timeout(OPEN_TIMEOUT, opener.open());
        let stream = opened
            .await
            .map_err(|_| failed("it accepts no connection"))?
            .map_err(failed)?;
        self.opened += 1;
        let line = Line::new(stream, Arc::clone(&self.lines));
        Ok(line.passed_through(self.passage.clone()))
    }

    /// Lets what is under way come to its end, and ends it.
    async fn end(self) {
        let _ = timeout(CLOSE_TIMEOUT, guest::shut_down(self.agent.opener())).await;
        self.killer.kill();
        let _ = timeout(KILL_TIMEOUT, self.ended.cancelled()).await;
    }
}

/// Kills somebody, unless it is kept.
struct KillOnDrop(Option<Killer>);

impl KillOnDrop {
    fn keep(mut self) -> Option<Killer> {
        self.0.take()
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(killer) = &self.0 {
            killer.kill();
        }
    }
}

/// Collects a child when it has ended, at once: the sandbox's first process waits for that in order to end
/// itself.
fn collect(child: Child) -> io::Result<CancellationToken> {
    // SAFETY: a `Child` names the same open descriptor for as long as it lives.
    let mut child = unsafe { AsyncFd::register_with_interest(child, Interest::READABLE) }?;
    let ended = CancellationToken::new();
    let tell = ended.clone();
    tokio::spawn(async move {
        while let Ok(mut ready) = child.readable().await {
            ready.clear_ready();
            if !matches!(child.get_mut().try_wait(), Ok(None)) {
                break;
            }
        }
        tell.cancel();
    });
    Ok(ended)
}

fn failed(why: impl std::fmt::Display) -> Fault {
    let words = format!("the agent for the files of the sandbox could not be started: {why}");
    Fault::new(FaultCode::HostIo, words)
}
