//! Owns the state of one VM, from its boot to its last trace.
//!
//! ```text
//!             agent set up         stop, time over, idle, SIGTERM, owner gone
//!  Starting ───────────────▶ Running ───────────────────────────▶ Stopping
//!     │                         │                                    │
//!     │ no boot, stop,          │ machine or agent died              │ guest flushed, or
//!     │ time over, owner gone   │                                    │ grace (maybe none) over
//!     ▼                         ▼                                    ▼ VMM has quit
//!   Over ◀──────────────────────┴────────────────────────────────────┘
//!     clients disconnected ▶ socket gone ▶ processes gone ▶ folder removed, or its end recorded ▶ lock free ▶ told
//! ```
//!
//! One task runs all of this. Clients, timers, signals and the owner only put a [`Request`] into
//! its queue; the machine and the boot belong to the state they run in and are polled there.

use std::borrow::Cow;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{DiskLayer, EndReason, Ended, LaunchEvent};
use pyro_wire::shim::{ShimReply, Status, Stop};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::backend::{Death, DeathKind, Merging, descendants};
use crate::boot::Vm;
use crate::clock::now_ms;
use crate::control::Clients;
use crate::detach;
use crate::events::Events;
use crate::folder;
use crate::guest;
use crate::handle::{Request, expire_at};
use crate::jail::OwnWalls;
use crate::liveness::Liveness;
use crate::services;
use crate::usage::Usage;

/// How long a guest may take to end its processes and to flush its disk when nobody said how long,
/// and the disk stays. Nobody waits for such an end, and a slow disk has much to take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a VMM may take to put what it holds back on the disk.
const QUIT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a VMM may take to put a layer on its disk, which waits for the writes under way.
const ADD_LAYER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a killed machine may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a machine may take to die of what just ended its session.
const DEATH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a VM may take to stand still or to go on.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is told of an end that came too soon for the guest.
const NOT_FLUSHED: &str =
    "the guest did not flush its disk in time, so what it had not yet written is lost";

/// How long clients may take to read their last reply.
const LAST_REPLIES_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) enum State<'a> {
    Starting(LocalBoxFuture<'a, Result<Vm, Fault>>),
    Running(Vm),
    Stopping(Vm, Ending),
    Over(Outcome),
}

/// An end that was asked for.
pub(crate) struct Ending {
    reason: EndReason,
    message: Cow<'static, str>,
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
    /// How long nobody may use the VM.
    pub(crate) idle: Option<Duration>,
    pub(crate) bound_to_owner: bool,
    /// What is to stand around this process once its guest answers.
    pub(crate) walls: Option<OwnWalls>,
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
                booted = &mut boot => return match booted.and_then(|vm| self.wall_in(vm)) {
                    Ok(vm) => {
                        self.events.send(&LaunchEvent::Ready(vm.running.clone()));
                        self.clients.usage().touch();
                        if !self.bound_to_owner {
                            detach::release_errors();
                        }
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
                    let other = |request| refuse(request, FaultCode::Refused, "still starting");
                    if let Some(ending) = self.ending(request, other) {
                        // Leaving drops the boot, and that kills whatever it has started.
                        return State::Over(ending.into());
                    }
                }
            }
        }
    }

    /// Nothing of the guest's has run yet, and all that is ever started for it has been.
    fn wall_in(&self, mut vm: Vm) -> Result<Vm, Fault> {
        if let Some(walls) = &self.walls {
            let group = vm.machine.control_group();
            walls.put_up(&mut vm.running, group, self.events)?;
        }
        Ok(vm)
    }

    async fn running(&mut self, mut vm: Vm) -> State<'a> {
        let usage = Arc::clone(self.clients.usage());
        let mut idle = idle(&usage, self.idle).boxed_local();
        loop {
            tokio::select! {
                death = vm.machine.ended() => return State::Over(self.died(&vm, &death)),
                why = vm.guest.lost() => {
                    let why = format!("the agent can no longer be reached: {why}");
                    return self.lost(vm, why).await;
                }
                limit = &mut idle => {
                    // What goes on in the guest without a line to it, a service or a shell that writes,
                    // is asked for only now. What a guest says so costs nobody but whoever runs it.
                    match guest::last_use(&vm.guest.opener()).await {
                        Some(ago) if ago < limit => usage.used_ago(ago),
                        _ => return State::Stopping(vm, self.idle_for(limit)),
                    }
                    idle = self::idle(&usage, self.idle).boxed_local();
                }
                Some(request) = self.requests.recv() => {
                    let request = match request {
                        Request::AddLayer { layer, reply } => {
                            usage.touch();
                            match self.add_layer(&mut vm, &layer, reply).await {
                                Ok(()) => continue,
                                Err(why) => return self.lost(vm, why).await,
                            }
                        }
                        Request::MergeLayer { layer, reply } => {
                            usage.touch();
                            let _ = reply.send(in_time(vm.machine.merge_layer(&layer)).await);
                            continue;
                        }
                        Request::Pause { reply } => {
                            let _ = reply.send(in_time(vm.machine.pause()).await);
                            continue;
                        }
                        Request::Lease { lease, reply } => {
                            let _ = reply.send(in_time(self.lease(&mut vm, &lease)).await);
                            continue;
                        }
                        request => request,
                    };
                    let ending = self.ending(request, |request| serve(&vm, &usage, request));
                    if let Some(ending) = ending {
                        return State::Stopping(vm, ending);
                    }
                }
            }
        }
    }

    /// Everybody else waits meanwhile, which is some milliseconds. Fails when nobody can say any
    /// more what the disk is.
    async fn add_layer(
        &self,
        vm: &mut Vm,
        layer: &DiskLayer,
        reply: oneshot::Sender<ShimReply>,
    ) -> Result<(), String> {
        let added = timeout(ADD_LAYER_TIMEOUT, vm.machine.add_layer(layer)).await;
        let answer = match &added {
            Ok(Ok(())) => ShimReply::Done,
            Ok(Err(fault)) => ShimReply::Failed(fault.clone()),
            Err(_) => ShimReply::Failed(Fault::new(
                FaultCode::GuestDied,
                "the VMM did not report in time whether it has added the disk layer",
            )),
        };
        let _ = reply.send(answer);
        match added {
            Ok(_) => Ok(()),
            Err(_) => Err("the VMM does not answer, and where it writes to is unknown".into()),
        }
    }

    /// Brings a VM that stood still back into the present, and begins to count its time to live.
    async fn lease(&self, vm: &mut Vm, lease: &pyro_wire::shim::Lease) -> Result<(), Fault> {
        expire_at(lease.expires_at_ms, &self.queue)
            .map_err(|error| Fault::new(FaultCode::of_io(&error), error.to_string()))?;
        vm.machine.unpause().await?;
        vm.guest.refresh().await?;
        Ok(())
    }

    /// Lets the guest flush, for as long as it may, and then the VMM.
    async fn stopping(&mut self, mut vm: Vm, mut ending: Ending) -> State<'a> {
        let opener = vm.guest.opener();
        let keep = !ending.remove;
        let jobs = self.clients.jobs();
        let files = vm.machine.files();
        let to_disk = vm.machine.flush();
        let mut flush = async move {
            if keep {
                tokio::join!(jobs.end_all(), services::stop_and_save(&opener));
            }
            if let Some(files) = files {
                files.close().await;
            }
            let shut_down = guest::shut_down(opener).await;
            // With an agent that cannot there is nothing to wait for either.
            shut_down.map_err(|_| NOT_FLUSHED.to_owned())?;
            match keep {
                true => to_disk.await.map_err(|error| not_written(&error)),
                false => Ok(()),
            }
        }
        .boxed_local();
        let mut flushed = Err(NOT_FLUSHED.to_owned());
        while ending.until > Instant::now() {
            tokio::select! {
                done = &mut flush => {
                    flushed = done;
                    break;
                }
                () = tokio::time::sleep_until(ending.until) => break,
                death = vm.machine.ended() => {
                    return State::Over(self.died_stopping(&vm, &death, ending));
                }
                Some(request) = self.requests.recv() => {
                    let other = |request| refuse(request, FaultCode::Over, "stopping");
                    if let Some(also) = self.ending(request, other) {
                        ending.join(also);
                    }
                }
            }
        }
        self.clients.disconnect();
        let unwritten = match flushed {
            Ok(()) => vm.machine.standstill(),
            Err(_) => vm.machine.lack_of_space(),
        };
        if let Some(why) = unwritten {
            let death = no_space(why);
            end(&mut vm, ending.remove).await;
            return State::Over(self.died_stopping(&vm, &death, ending));
        }
        if let Err(why) = flushed
            && !ending.remove
        {
            ending.message += "; ";
            ending.message += Cow::from(why);
        }
        if ending.remove {
            // Dead is all that whoever cannot wait wants to know.
            vm.machine.kill();
            for reply in ending.at_once.drain(..) {
                let _ = reply.send(ShimReply::Stopped);
            }
        }
        match end(&mut vm, ending.remove).await {
            Some(death) => State::Over(self.died_stopping(&vm, &death, ending)),
            None => State::Over(ending.into()),
        }
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
        self.clients.disconnect();
        let mut console_tail = death.vmm_log.clone();
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
    async fn lost(&self, mut vm: Vm, message: String) -> State<'a> {
        self.clients.disconnect();
        if let Ok(death) = timeout(DEATH_TIMEOUT, vm.machine.ended()).await {
            return State::Over(self.died(&vm, &death));
        }
        vm.machine.kill();
        let _ = timeout(KILL_TIMEOUT, vm.machine.ended()).await;
        let death = Death {
            kind: DeathKind::Vmm,
            message,
            vmm_log: Vec::new(),
        };
        State::Over(self.died(&vm, &death))
    }

    /// The end that a request asks for; `other` answers the requests that ask for none.
    fn ending(&self, request: Request, other: impl FnOnce(Request)) -> Option<Ending> {
        let flush = self.grace();
        let (reason, message, grace) = match request {
            Request::Stop { stop, reply } => return Some(Ending::asked(&stop, reply)),
            Request::OwnerGone => (
                EndReason::OwnerGone,
                "the process that owned the VM has ended",
                Duration::ZERO,
            ),
            Request::Expired => (
                EndReason::Expired,
                "the VM's time to live has expired",
                flush,
            ),
            Request::Terminate => (EndReason::Stopped, "the shim was terminated", flush),
            Request::Status { .. }
            | Request::Agent { .. }
            | Request::Files { .. }
            | Request::AddLayer { .. }
            | Request::MergeLayer { .. }
            | Request::Touch { .. }
            | Request::Pause { .. }
            | Request::Lease { .. } => {
                other(request);
                return None;
            }
        };
        Some(Ending {
            reason,
            message: message.into(),
            remove: self.remove_when_over,
            until: Instant::now() + grace,
            at_once: Vec::new(),
            replies: Vec::new(),
        })
    }

    fn idle_for(&self, limit: Duration) -> Ending {
        Ending {
            reason: EndReason::Idle,
            message: format!("it was not used for {} s", limit.as_secs_f64()).into(),
            remove: self.remove_when_over,
            until: Instant::now() + self.grace(),
            at_once: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// How long the guest may take to flush its disk when the VM ends by itself.
    fn grace(&self) -> Duration {
        if self.remove_when_over {
            Duration::ZERO
        } else {
            FLUSH_TIMEOUT
        }
    }

    /// Leaves nothing behind. Whoever is told that the VM is over finds the lock free.
    async fn over(mut self, mut outcome: Outcome) -> ExitCode {
        self.clients.disconnect();
        self.clients.close();
        // Wishes that came when the end was under way already.
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Stop { stop, reply } => {
                    outcome.remove |= stop.remove;
                    outcome.replies.push(reply);
                }
                request => refuse(request, FaultCode::Over, "over"),
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
            if let Err(error) = folder::write_end_record(&record(&outcome.end)) {
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

        // Wishes that came even later: they hear of the same end, unless they want more.
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Stop { stop, reply } if outcome.remove || !stop.remove => {
                    outcome.replies.push(reply);
                }
                request => refuse(request, FaultCode::Over, "over"),
            }
        }
        let answer = match cleared {
            Ok(()) => outcome.answer,
            Err(fault) => ShimReply::Failed(fault),
        };
        for reply in outcome.replies {
            let _ = reply.send(answer.clone());
        }
        self.clients.finish(LAST_REPLIES_TIMEOUT).await;
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
            message: "a stop was requested".into(),
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
                message: ending.message.into_owned(),
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
    match timeout(PAUSE_TIMEOUT, work).await {
        Ok(Ok(())) => ShimReply::Done,
        Ok(Err(fault)) => ShimReply::Failed(fault),
        Err(_) => ShimReply::Failed(Fault::new(
            FaultCode::GuestDied,
            format!(
                "the VM did not respond within {} s",
                PAUSE_TIMEOUT.as_secs()
            ),
        )),
    }
}

/// Answers a question to a VM that runs.
fn serve(vm: &Vm, usage: &Usage, request: Request) {
    match request {
        Request::Status { reply } => {
            let _ = reply.send(ShimReply::Status(Box::new(Status {
                running: vm.running.clone(),
                shim_pid: std::process::id(),
                vmm_pid: vm.machine.pid(),
                connections: usage.connections(),
                last_activity_ms: usage.last_use_ms(),
                disk: vm.machine.disk().to_vec(),
                standstill: vm.machine.standstill().map(Into::into),
                merging: vm.machine.merging().and_then(Merging::layer),
                merge_failed: vm.machine.merging().and_then(Merging::failure),
            })));
        }
        Request::Agent { reply } => {
            // What somebody asks of a guest that stands still waits for nobody knows how long.
            let answer = match vm.machine.standstill() {
                None => Ok(vm.guest.opener()),
                Some(why) => Err(Fault::new(FaultCode::NoSpace, why)),
            };
            let _ = reply.send(answer);
        }
        Request::Files { reply } => drop(reply.send(Ok(vm.machine.files()))),
        Request::Touch { reply } => {
            usage.touch();
            let _ = reply.send(ShimReply::Done);
        }
        _ => {}
    }
}

/// Answers a question in a state that has no answer.
fn refuse(request: Request, code: FaultCode, state: &str) {
    let fault = Fault::new(code, format!("the VM is {state}"));
    match request {
        Request::Status { reply }
        | Request::AddLayer { reply, .. }
        | Request::MergeLayer { reply, .. }
        | Request::Touch { reply }
        | Request::Pause { reply }
        | Request::Lease { reply, .. }
        | Request::Stop { reply, .. } => drop(reply.send(ShimReply::Failed(fault))),
        Request::Agent { reply } => drop(reply.send(Err(fault))),
        Request::Files { reply } => drop(reply.send(Err(fault))),
        Request::OwnerGone | Request::Expired | Request::Terminate => {}
    }
}

/// Resolves when nobody has used the VM for so long, if that is a reason.
async fn idle(usage: &Usage, limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            usage.idle_for(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

/// Ends a machine whose guest has flushed, or had its time. None when it would not end: that is
/// tried again, with everything else, when the VM is over.
async fn end(vm: &mut Vm, disposable: bool) -> Option<Death> {
    if !disposable && let Ok(death) = timeout(QUIT_TIMEOUT, vm.machine.quit()).await {
        return Some(death);
    }
    vm.machine.kill();
    timeout(KILL_TIMEOUT, vm.machine.ended()).await.ok()
}

fn not_written(error: &io::Error) -> String {
    format!("the host could not write what was changed to its disk, and may lose it: {error}")
}

fn no_space(message: &str) -> Death {
    Death {
        kind: DeathKind::NoSpace,
        message: message.to_owned(),
        vmm_log: Vec::new(),
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
