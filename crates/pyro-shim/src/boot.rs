//! From a launch file to a guest that answers, within a deadline.
//!
//! ```text
//!              ┌────────────── one retry, from scratch ─────────────┐
//!              ▼                                                    │
//! prepare ▶ launch ▶ greet ▶ set up ▶ running     deadline or death ┘▶ fault
//! ```
//!
//! A machine that a backend resumes instead of booting it is an attempt too, one that does not count
//! when it fails: both boots are still to come.
//!
//! Any emulated machine hangs once in a long while, on a busy host most of all; a second try
//! costs a waiting person less than an error does.

use std::time::Duration;

use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::Running;
use pyro_wire::reached;
use tokio::time::{Instant, timeout, timeout_at};

use crate::backend::{Backend, BootFailure, Launched, Machine, Next};
use crate::console::TAIL_LINES;
use crate::events::Events;
use crate::guest::{Guest, GuestError};

const ATTEMPTS: u32 = 2;

/// How long a machine may take to die of what just closed its channel.
const DEATH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a killed process may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A machine with a guest that answers.
pub(crate) struct Vm {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) guest: Guest,
    pub(crate) running: Running,
}

/// What a boot needs to know, whatever the machine is.
pub(crate) struct BootOptions {
    pub(crate) hostname: String,
    pub(crate) deadline: Duration,
    /// When the shim started.
    pub(crate) started: Instant,
    /// Ask the agent when each of its steps was reached.
    pub(crate) timings: bool,
    /// Variables of every command.
    pub(crate) env: Vec<(String, String)>,
    /// Who runs its commands when nobody is named.
    pub(crate) user: Option<String>,
    /// No guest has had its disk.
    pub(crate) new_disk: bool,
}

/// Boots, and boots again when the first try came to nothing. Dropping the future kills what it
/// started.
pub(crate) async fn boot(
    mut backend: Box<dyn Backend>,
    options: &BootOptions,
    events: &Events,
) -> Result<Vm, Fault> {
    backend.prepare(events).await?;
    reached!("accelerator chosen");
    let mut attempt = 1;
    let mut attempts = ATTEMPTS;
    loop {
        let begun = Instant::now();
        let failure = match try_once(&mut *backend, options).await {
            Ok(mut vm) => {
                vm.running.boot_attempts = attempt;
                return Ok(vm);
            }
            Err(failure) => failure,
        };
        let next = backend.boot_failed(&failure);
        if let Next::Boot(note) = next {
            events.note(note);
            attempt += 1;
            attempts += 1;
            continue;
        }
        if attempt == attempts || (failure.lasting && next == Next::Same) {
            return Err(failure.fault);
        }
        let outcome = match failure.fault.code {
            FaultCode::BootTimeout => "timed out".to_owned(),
            _ => format!("failed ({})", failure.fault.message),
        };
        let seconds = begun.elapsed().as_secs_f32();
        events.note(format!(
            "boot attempt {attempt} {outcome} after {seconds:.1} s, trying again"
        ));
        attempt += 1;
    }
}

async fn try_once(backend: &mut dyn Backend, options: &BootOptions) -> Result<Vm, BootFailure> {
    let limit = backend.launch_limit().unwrap_or(options.deadline);
    let limit = limit.min(options.deadline);
    let deadline = Instant::now() + limit;
    let launch = timeout_at(deadline, backend.launch());
    let Launched {
        mut machine,
        channel,
    } = launch.await.unwrap_or_else(|_| Err(too_late(limit)))?;
    let BootOptions { hostname, env, .. } = options;
    let user = options.user.as_deref();
    let connect = Guest::connect(
        channel,
        hostname,
        env,
        user,
        options.new_disk,
        options.timings,
    );
    let connected = tokio::select! {
        biased;
        connected = timeout_at(deadline, connect) => Connected::Outcome(connected.ok()),
        death = machine.ended() => Connected::Death(death.into()),
    };
    let failure = match connected {
        Connected::Outcome(Some(Ok((guest, ready)))) => {
            machine.greeted(guest.opener());
            let about = machine.about().clone();
            let running = Running {
                backend: about.backend.into(),
                accelerator: about.accelerator.into(),
                accelerator_reason: about.accelerator_reason,
                vmm_version: about.vmm_version,
                agent_version: ready.agent_version,
                kernel_release: ready.kernel_release,
                boot_ms: u64::try_from(options.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                boot_attempts: 0,
                booted_kernel: backend.booted_kernel(),
                resumed: about.resumed,
                walls: about.walls,
            };
            return Ok(Vm {
                machine,
                guest,
                running,
            });
        }
        Connected::Outcome(Some(Err(error))) => failure_cause(&mut *machine, error).await,
        Connected::Outcome(None) => {
            let why = machine.standstill().map(str::to_owned);
            end(&mut *machine).await;
            match why {
                Some(why) => BootFailure::lasting(Fault::new(FaultCode::NoSpace, why)),
                None => too_late(limit),
            }
        }
        Connected::Death(failure) => failure,
    };
    Err(with_console(failure, machine.console_tail()))
}

enum Connected {
    Outcome(Option<Result<(Guest, pyro_wire::agent::Ready), GuestError>>),
    Death(BootFailure),
}

/// A channel that breaks is mostly the first sign of a machine that dies, and its death says more.
async fn failure_cause(machine: &mut dyn Machine, error: GuestError) -> BootFailure {
    let lasting = error.is_lasting();
    if !lasting && let Ok(death) = timeout(DEATH_TIMEOUT, machine.ended()).await {
        return death.into();
    }
    end(machine).await;
    BootFailure {
        fault: error.into(),
        lasting,
    }
}

/// Kills a machine and waits for its end: the next attempt needs the disk's lock.
async fn end(machine: &mut dyn Machine) {
    machine.kill();
    let _ = timeout(KILL_TIMEOUT, machine.ended()).await;
}

fn too_late(limit: Duration) -> BootFailure {
    let seconds = limit.as_secs_f32();
    BootFailure::passing(Fault::new(
        FaultCode::BootTimeout,
        format!("the guest did not answer within {seconds} s"),
    ))
}

fn with_console(mut failure: BootFailure, console: Vec<String>) -> BootFailure {
    failure.fault = failure.fault.with_detail(console);
    failure.fault.detail.truncate(TAIL_LINES + 20);
    failure
}
