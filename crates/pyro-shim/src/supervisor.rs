//! Owns the state of one VM, from its boot to its last trace.
//!
//! ```text
//!             agent set up         stop, time over, SIGTERM, owner gone
//!  Starting ───────────────▶ Running ───────────────────────────▶ Stopping
//!     │                         │                                    │
//!     │ no boot, stop,          │ machine or agent died              │ guest flushed, or
//!     │ time over, owner gone   │                                    │ grace (maybe none) over
//!     ▼                         ▼                                    ▼
//!   Over ◀──────────────────────┴────────────────────────────────────┘
//!     lines cut ▶ socket gone ▶ processes gone ▶ folder removed or signed ▶ lock free ▶ told
//! ```
//!
//! One task runs all of this. Clients, timers, signals and the owner only put a [`Request`] into
//! its queue; the machine and the boot belong to the state they run in and are polled there.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{EndReason, Ended, LaunchEvent};
use pyro_wire::shim::{HandOut, ShimReply, Status, Stop};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::backend::{Death, DeathKind, descendants};
use crate::boot::Vm;
use crate::control::{Clients, Request};
use crate::events::Events;
use crate::folder;
use crate::guest;
use crate::liveness::Liveness;
use crate::start;

/// How long a guest may take to flush its disk when nobody said how long, and the disk stays.
const GRACE: Duration = Duration::from_secs(5);

/// How long a killed machine may take to end.
const KILL: Duration = Duration::from_secs(5);

/// How long a machine may take to die of what just ended its session.
const CAUSE: Duration = Duration::from_secs(1);

/// How long a VM may take to stand still or to go on.
const PROMPT: Duration = Duration::from_secs(5);

/// How long clients may take to read their last reply.
const LAST_REPLIES: Duration = Duration::from_secs(1);

pub(crate) enum State<'a> {
    Starting(LocalBoxFuture<'a, Result<Vm, Fault>>),
    Running(Vm),
    Stopping(Vm, Ending),
    Over(Outcome),
}

/// An end that was asked for.
pub(crate) struct Ending {
    reason: EndReason,
    message: &'static str,
    remove: bool,
    /// Until when the guest may flush its disk.
    until: Instant,
    /// Who waits for the kill only.
    at_once: Vec<oneshot::Sender<ShimReply>>,
    /// Who waits for it.
    replies: Vec<oneshot::Sender<ShimReply>>,
}

/// What there is to tell and to do when nothing runs any more.
pub(crate) struct Outcome {
    /// The end, or why there never was a beginning.
    end: Result<Ended, Fault>,
    remove: bool,
    /// Who waits for it, and what they are told if nothing else goes wrong.
    replies: Vec<oneshot::Sender<ShimReply>>,
    answer: ShimReply,
}

pub(crate) struct Supervisor<'a> {
    /// Remove the folder when nobody says otherwise.
    pub(crate) remove_when_over: bool,
    pub(crate) lock: Liveness,
    /// The way into `requests`.
    pub(crate) queue: mpsc::Sender<Request>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) clients: Clients,
    pub(crate) events: &'a Events,
}

impl<'a> Supervisor<'a> {
    pub(crate) async fn run(mut self, mut state: State<'a>) -> ExitCode {
        loop {
            state = match state {
                State::Starting(boot) => self.starting(boot).await,
                State::Running(vm) => self.running(vm).await,
                State::Stopping(vm, ending) => self.stopping(vm, ending).await,
                State::Over(outcome) => return self.over(outcome).await,
            }
        }
    }

    async fn starting(&mut self, mut boot: LocalBoxFuture<'a, Result<Vm, Fault>>) -> State<'a> {
        loop {
            tokio::select! {
                booted = &mut boot => return match booted {
                    Ok(vm) => {
                        self.events.send(&LaunchEvent::Ready(vm.running.clone()));
                        State::Running(vm)
                    }
                    Err(fault) => State::Over(Outcome {
                        end: Err(fault),
                        remove: self.remove_when_over,
                        replies: Vec::new(),
                        answer: ShimReply::Stopped,
                    }),
                },
                Some(request) = self.requests.recv() => {
                    let other = |request| refuse(request, "still starting");
                    if let Some(ending) = self.ending(request, other) {
                        // Leaving drops the boot, and that kills whatever it has started.
                        return State::Over(ending.into());
                    }
                }
            }
        }
    }

    async fn running(&mut self, mut vm: Vm) -> State<'a> {
        loop {
            tokio::select! {
                death = vm.machine.ended() => return State::Over(self.died(&vm, &death)),
                why = vm.guest.lost() => return self.session_lost(vm, &why).await,
                Some(request) = self.requests.recv() => {
                    let connections = self.clients.connections();
                    let request = match request {
                        Request::Pause { reply } => {
                            let _ = reply.send(in_time(vm.machine.pause()).await);
                            continue;
                        }
                        Request::HandOut { hand_out, reply } => {
                            let _ = reply.send(in_time(self.hand_out(&mut vm, &hand_out)).await);
                            continue;
                        }
                        request => request,
                    };
                    let ending = self.ending(request, |request| serve(&vm, connections, request));
                    if let Some(ending) = ending {
                        return State::Stopping(vm, ending);
                    }
                }
            }
        }
    }

    /// Brings a VM that stood still back into the present, and begins to count its time to live.
    async fn hand_out(&self, vm: &mut Vm, hand_out: &HandOut) -> Result<(), Fault> {
        start::expire_at(hand_out.expires_at_ms, &self.queue)
            .map_err(|error| Fault::new(FaultCode::of_io(&error), error.to_string()))?;
        vm.machine.go_on().await?;
        guest::refresh(&vm.guest.opener()).await?;
        Ok(())
    }

    /// Lets the guest flush, for as long as it may, and pulls the plug.
    async fn stopping(&mut self, mut vm: Vm, mut ending: Ending) -> State<'a> {
        let mut flushed = guest::shut_down(vm.guest.opener()).boxed_local();
        while ending.until > Instant::now() {
            tokio::select! {
                // An agent that cannot is as good as one that has: there is nothing to wait for.
                _ = &mut flushed => break,
                () = tokio::time::sleep_until(ending.until) => break,
                death = vm.machine.ended() => {
                    return State::Over(self.died_stopping(&vm, &death, ending));
                }
                Some(request) = self.requests.recv() => {
                    let other = |request| refuse(request, "stopping");
                    if let Some(also) = self.ending(request, other) {
                        ending.join(also);
                    }
                }
            }
        }
        self.clients.cut();
        vm.machine.kill();
        for reply in ending.at_once.drain(..) {
            let _ = reply.send(ShimReply::Stopped);
        }
        // What does not die here is tried again, with everything else, when it is over.
        let _ = timeout(KILL, vm.machine.ended()).await;
        State::Over(ending.into())
    }

    /// An end that was wanted anyway, unless it kept the guest from flushing its disk.
    fn died_stopping(&self, vm: &Vm, death: &Death, ending: Ending) -> Outcome {
        if death.kind != DeathKind::NoSpace || ending.remove {
            return ending.into();
        }
        Outcome {
            remove: ending.remove,
            replies: ending.replies.into_iter().chain(ending.at_once).collect(),
            answer: ShimReply::Failed(Fault::new(FaultCode::NoSpace, &death.message)),
            ..self.died(vm, death)
        }
    }

    fn died(&self, vm: &Vm, death: &Death) -> Outcome {
        self.clients.cut();
        let mut console_tail = death.evidence.clone();
        console_tail.extend(vm.machine.console_tail());
        Outcome {
            end: Ok(Ended {
                reason: death.end_reason(),
                message: death.message.clone(),
                console_tail,
                at_ms: now_ms(),
            }),
            remove: self.remove_when_over,
            replies: Vec::new(),
            answer: ShimReply::Stopped,
        }
    }

    /// A session ends because its machine does, or because the agent misbehaves; then nobody can
    /// reach the guest any more, and it is of no use.
    async fn session_lost(&self, mut vm: Vm, why: &str) -> State<'a> {
        self.clients.cut();
        if let Ok(death) = timeout(CAUSE, vm.machine.ended()).await {
            return State::Over(self.died(&vm, &death));
        }
        vm.machine.kill();
        let _ = timeout(KILL, vm.machine.ended()).await;
        let death = Death {
            kind: DeathKind::Vmm,
            message: format!("the agent cannot be reached any more: {why}"),
            evidence: Vec::new(),
        };
        State::Over(self.died(&vm, &death))
    }

    /// The end that a request asks for; `other` answers the requests that ask for none.
    fn ending(&self, request: Request, other: impl FnOnce(Request)) -> Option<Ending> {
        let flush = if self.remove_when_over {
            Duration::ZERO
        } else {
            GRACE
        };
        let (reason, message, grace) = match request {
            Request::Stop { stop, reply } => return Some(Ending::asked(&stop, reply)),
            Request::OwnerGone => (
                EndReason::OwnerGone,
                "the process that the VM belonged to is gone",
                Duration::ZERO,
            ),
            Request::Expired => (EndReason::Expired, "the VM's time to live is over", flush),
            Request::Terminate => (EndReason::Stopped, "the shim was told to end", flush),
            Request::Status { .. }
            | Request::Agent { .. }
            | Request::Pause { .. }
            | Request::HandOut { .. } => {
                other(request);
                return None;
            }
        };
        Some(Ending {
            reason,
            message,
            remove: self.remove_when_over,
            until: Instant::now() + grace,
            at_once: Vec::new(),
            replies: Vec::new(),
        })
    }

    /// Leaves nothing behind. Whoever is told that the VM is over finds the lock free.
    async fn over(mut self, mut outcome: Outcome) -> ExitCode {
        self.clients.cut();
        self.clients.close();
        // Wishes that came when the end was under way already.
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Stop { stop, reply } => {
                    outcome.remove |= stop.remove;
                    outcome.replies.push(reply);
                }
                request => refuse(request, "over"),
            }
        }
        let ended_all = descendants::end_all().await;
        let cleared = if !ended_all {
            Err(Fault::new(
                FaultCode::HostIo,
                "a process of the VM does not react to SIGKILL",
            ))
        } else if outcome.remove {
            folder::remove().map_err(Fault::from)
        } else {
            // A record that cannot be written, on a full disk for one, makes no end undone.
            if let Err(error) = folder::sign(&record(&outcome.end)) {
                self.events.note(error.to_string());
            }
            Ok(())
        };
        drop(self.lock);
        if let Err(fault) = &cleared {
            self.events.note(fault.message.clone());
        }
        let code = match outcome.end {
            Ok(ended) => {
                self.events.send(&LaunchEvent::Ended(ended));
                ExitCode::SUCCESS
            }
            Err(fault) => {
                self.events.send(&LaunchEvent::Failed(fault));
                ExitCode::FAILURE
            }
        };

        let answer = match cleared {
            Ok(()) => outcome.answer,
            Err(fault) => ShimReply::Failed(fault),
        };
        for reply in outcome.replies {
            let _ = reply.send(answer.clone());
        }
        self.clients.finish(LAST_REPLIES).await;
        code
    }
}

impl Ending {
    fn asked(stop: &Stop, reply: oneshot::Sender<ShimReply>) -> Self {
        // A grace beyond a day is a mistake, and must not overflow the clock.
        let grace = Duration::from_millis(stop.grace_ms).min(Duration::from_secs(24 * 60 * 60));
        let (at_once, replies) = if stop.at_once {
            (vec![reply], Vec::new())
        } else {
            (Vec::new(), vec![reply])
        };
        Self {
            reason: EndReason::Stopped,
            message: "somebody asked for it",
            remove: stop.remove,
            until: Instant::now() + grace,
            at_once,
            replies,
        }
    }

    /// A second wish for the end: the shorter grace counts, and one wish to remove is enough.
    fn join(&mut self, also: Self) {
        self.until = self.until.min(also.until);
        self.remove |= also.remove;
        self.at_once.extend(also.at_once);
        self.replies.extend(also.replies);
    }
}

impl From<Ending> for Outcome {
    fn from(ending: Ending) -> Self {
        Self {
            end: Ok(Ended {
                reason: ending.reason,
                message: ending.message.into(),
                console_tail: Vec::new(),
                at_ms: now_ms(),
            }),
            remove: ending.remove,
            // Without a kill there is nothing to hear of but the end.
            replies: ending.replies.into_iter().chain(ending.at_once).collect(),
            answer: ShimReply::Stopped,
        }
    }
}

/// Does something with a VM that runs, but not for ever: everything else waits meanwhile.
async fn in_time(work: impl Future<Output = Result<(), Fault>>) -> ShimReply {
    match timeout(PROMPT, work).await {
        Ok(Ok(())) => ShimReply::Done,
        Ok(Err(fault)) => ShimReply::Failed(fault),
        Err(_) => ShimReply::Failed(Fault::new(
            FaultCode::GuestDied,
            format!("the VM did not react within {} s", PROMPT.as_secs()),
        )),
    }
}

/// Answers a question to a VM that runs.
fn serve(vm: &Vm, connections: u32, request: Request) {
    match request {
        Request::Status { reply } => {
            let _ = reply.send(ShimReply::Status(Status {
                running: vm.running.clone(),
                shim_pid: std::process::id(),
                vmm_pid: vm.machine.pid(),
                connections,
            }));
        }
        Request::Agent { reply } => {
            let _ = reply.send(Ok(vm.guest.opener()));
        }
        _ => {}
    }
}

/// Answers a question in a state that has no answer.
fn refuse(request: Request, state: &str) {
    let fault = Fault::new(FaultCode::Refused, format!("the VM is {state}"));
    match request {
        Request::Status { reply } => drop(reply.send(ShimReply::Failed(fault))),
        Request::Agent { reply } => drop(reply.send(Err(fault))),
        Request::Pause { reply } | Request::HandOut { reply, .. } => {
            drop(reply.send(ShimReply::Failed(fault)));
        }
        _ => {}
    }
}

/// The record for a folder that stays: of an end, or of a boot that failed.
fn record(end: &Result<Ended, Fault>) -> Ended {
    match end {
        Ok(ended) => ended.clone(),
        Err(fault) => Ended {
            reason: EndReason::Died,
            message: fault.message.clone(),
            console_tail: fault.detail.clone(),
            at_ms: now_ms(),
        },
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
