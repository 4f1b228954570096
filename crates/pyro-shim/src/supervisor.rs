//! Owns the state of one VM, from the launch file to an empty folder.
//!
//! ```text
//!             agent set up             stop, time over, SIGTERM
//!  Starting ───────────────▶ Running ───────────────────────────▶ Stopping
//!     │                         │                                    │
//!     │ no boot, stop,          │ machine or agent died,             │ guest flushed,
//!     │ time over, owner gone   │ owner gone                         │ or grace over
//!     ▼                         ▼                                    ▼
//!   Over ◀──────────────────────┴────────────────────────────────────┘
//!     lines cut ▶ socket gone ▶ processes gone ▶ folder removed or signed ▶ lock free ▶ told
//! ```
//!
//! One task runs all of this. Clients, timers, signals and the owner only put a [`Request`] into
//! its queue; the machine and the boot belong to the state they run in and are polled there.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{EndReason, Ended, LaunchEvent, LaunchSpec, Machine as MachineSpec};
use pyro_wire::shim::{ShimReply, Status, Stop};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::backend::process::ProcessBackend;
use crate::backend::qemu::QemuBackend;
use crate::backend::{Backend, Death, DeathKind, descendants};
use crate::boot::{self, Order, Vm};
use crate::control::{Clients, Request};
use crate::detach;
use crate::events::Events;
use crate::expiry;
use crate::folder;
use crate::guest;
use crate::liveness::Liveness;
use crate::owner;

/// How long a guest may take to flush its disk when nobody said how long, and the disk stays.
const GRACE: Duration = Duration::from_secs(5);

/// How long a killed machine may take to end.
const KILL: Duration = Duration::from_secs(5);

/// How long a machine may take to die of what just ended its session.
const CAUSE: Duration = Duration::from_secs(1);

/// How long clients may take to read their last reply.
const LAST_REPLIES: Duration = Duration::from_secs(1);

/// See [`crate::run`].
pub(crate) fn run(dir: &Path) -> ExitCode {
    let started = Instant::now();
    detach::detach();
    let Ok(output) = detach::take_output() else {
        return ExitCode::FAILURE;
    };
    let events = Events::to(output);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(supervise(dir, started, &events)),
        Err(error) => Err(host_io("the runtime could not be started", error)),
    };
    let code = match outcome {
        Ok(code) => code,
        Err(fault) => {
            events.send(&LaunchEvent::Failed(fault));
            ExitCode::FAILURE
        }
    };
    events.finish();
    code
}

/// Everything before the states: what fails here leaves the folder as it was found.
async fn supervise(dir: &Path, started: Instant, events: &Events) -> Result<ExitCode, Fault> {
    folder::enter(dir)?;
    let lock = Liveness::take()?;
    let spec = folder::read_spec()?;
    descendants::adopt();
    let (sender, requests) = mpsc::channel(64);
    watch_the_world(&spec, &sender)
        .map_err(|error| host_io("the shim could not set up its signals and timers", error))?;
    let clients = Clients::serve(sender)
        .map_err(|error| host_io("the control socket could not be made", error))?;

    let lock_of_vmm = lock
        .share()
        .map_err(|error| host_io("the lock could not be shared", error))?;
    let backend: Box<dyn Backend> = match spec.machine.clone() {
        MachineSpec::Process(process) => Box::new(ProcessBackend::new(process)),
        MachineSpec::Qemu(qemu) => {
            Box::new(QemuBackend::new(qemu, lock_of_vmm, spec.remove_when_over))
        }
    };
    let order = Order {
        hostname: spec.hostname.clone(),
        deadline: Duration::from_millis(spec.boot_deadline_ms),
        started,
    };
    let boot = async move { boot::boot(backend, &order, events).await };
    let supervisor = Supervisor {
        remove_when_over: spec.remove_when_over,
        lock,
        requests,
        clients,
        events,
    };
    Ok(supervisor.run(State::Starting(boot.boxed_local())).await)
}

/// Puts signals, the owner's end and the end of the time to live into the queue.
fn watch_the_world(spec: &LaunchSpec, queue: &mpsc::Sender<Request>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let to = queue.clone();
    tokio::spawn(async move {
        while terminate.recv().await.is_some() && to.send(Request::Terminate).await.is_ok() {}
    });

    // Taken in any case: nobody's pipe is held open for the life of a VM.
    let input = detach::take_input()?;
    if spec.bound_to_owner {
        let to = queue.clone();
        tokio::spawn(async move {
            owner::gone(input).await;
            let _ = to.send(Request::OwnerGone).await;
        });
    }

    if let Some(at_ms) = spec.expires_at_ms {
        let expired = expiry::at(at_ms)?;
        let to = queue.clone();
        tokio::spawn(async move {
            expired.await;
            let _ = to.send(Request::Expired).await;
        });
    }
    Ok(())
}

enum State<'a> {
    Starting(LocalBoxFuture<'a, Result<Vm, Fault>>),
    Running(Vm),
    Stopping(Vm, Ending),
    Over(Outcome),
}

/// An end that was asked for.
struct Ending {
    reason: EndReason,
    message: &'static str,
    remove: bool,
    /// Until when the guest may flush its disk.
    until: Instant,
    /// Who waits for it.
    replies: Vec<oneshot::Sender<ShimReply>>,
}

/// What there is to tell and to do when nothing runs any more.
struct Outcome {
    /// The end, or why there never was a beginning.
    end: Result<Ended, Fault>,
    remove: bool,
    replies: Vec<oneshot::Sender<ShimReply>>,
}

struct Supervisor<'a> {
    remove_when_over: bool,
    lock: Liveness,
    requests: mpsc::Receiver<Request>,
    clients: Clients,
    events: &'a Events,
}

impl<'a> Supervisor<'a> {
    async fn run(mut self, mut state: State<'a>) -> ExitCode {
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
                    }),
                },
                Some(request) = self.requests.recv() => {
                    if let Some(ending) = self.ending(request, |request| refuse(request, "still starting")) {
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
                death = vm.machine.ended() => return self.died(&vm, &death),
                why = vm.guest.lost() => return self.session_lost(vm, &why).await,
                Some(request) = self.requests.recv() => {
                    let connections = self.clients.connections();
                    let ending = self.ending(request, |request| serve(&vm, connections, request));
                    if let Some(ending) = ending {
                        return State::Stopping(vm, ending);
                    }
                }
            }
        }
    }

    /// Lets the guest flush, for as long as it may, and pulls the plug.
    async fn stopping(&mut self, mut vm: Vm, mut ending: Ending) -> State<'a> {
        let mut flushed = guest::shut_down(vm.guest.opener()).boxed_local();
        let mut dead = false;
        while !dead && ending.until > Instant::now() {
            tokio::select! {
                // An agent that cannot is as good as one that has: there is nothing to wait for.
                _ = &mut flushed => break,
                () = tokio::time::sleep_until(ending.until) => break,
                _ = vm.machine.ended() => dead = true,
                Some(request) = self.requests.recv() => {
                    if let Some(also) = self.ending(request, |request| refuse(request, "stopping")) {
                        ending.join(also);
                    }
                }
            }
        }
        self.clients.cut();
        if !dead {
            vm.machine.kill();
            // What does not die here is tried again, with everything else, when it is over.
            let _ = timeout(KILL, vm.machine.ended()).await;
        }
        State::Over(ending.into())
    }

    fn died(&self, vm: &Vm, death: &Death) -> State<'a> {
        self.clients.cut();
        let mut console_tail = death.evidence.clone();
        console_tail.extend(vm.machine.console_tail());
        State::Over(Outcome {
            end: Ok(Ended {
                reason: death.end_reason(),
                message: death.message.clone(),
                console_tail,
                at_ms: now_ms(),
            }),
            remove: self.remove_when_over,
            replies: Vec::new(),
        })
    }

    /// A session ends because its machine does, or because the agent misbehaves; then nobody can
    /// reach the guest any more, and it is of no use.
    async fn session_lost(&self, mut vm: Vm, why: &str) -> State<'a> {
        self.clients.cut();
        if let Ok(death) = timeout(CAUSE, vm.machine.ended()).await {
            return self.died(&vm, &death);
        }
        vm.machine.kill();
        let _ = timeout(KILL, vm.machine.ended()).await;
        let death = Death {
            kind: DeathKind::Vmm,
            message: format!("the agent cannot be reached any more: {why}"),
            evidence: Vec::new(),
        };
        self.died(&vm, &death)
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
            Request::Status { .. } | Request::Agent { .. } => {
                other(request);
                return None;
            }
        };
        Some(Ending {
            reason,
            message,
            remove: self.remove_when_over,
            until: Instant::now() + grace,
            replies: Vec::new(),
        })
    }

    /// Leaves nothing behind. Whoever is told that the VM is over finds the lock free.
    async fn over(mut self, outcome: Outcome) -> ExitCode {
        self.clients.cut();
        self.clients.close();
        let ended_all = descendants::end_all().await;
        let cleared = if !ended_all {
            Err(Fault::new(
                FaultCode::HostIo,
                "a process of the VM does not react to SIGKILL",
            ))
        } else if outcome.remove {
            folder::remove().map_err(Fault::from)
        } else {
            folder::sign(&record(&outcome.end)).map_err(Fault::from)
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

        // Whoever asked while the end was under way gets the same answer.
        self.requests.close();
        let mut replies = outcome.replies;
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Stop { reply, .. } => replies.push(reply),
                request => refuse(request, "over"),
            }
        }
        let answer = cleared.map_or_else(ShimReply::Failed, |()| ShimReply::Stopped);
        for reply in replies {
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
        Self {
            reason: EndReason::Stopped,
            message: "somebody asked for it",
            remove: stop.remove,
            until: Instant::now() + grace,
            replies: vec![reply],
        }
    }

    /// A second wish for the end: the shorter grace counts, and one wish to remove is enough.
    fn join(&mut self, also: Self) {
        self.until = self.until.min(also.until);
        self.remove |= also.remove;
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
            replies: ending.replies,
        }
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

fn host_io(what: &str, error: std::io::Error) -> Fault {
    Fault::new(FaultCode::HostIo, format!("{what}: {error}"))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
