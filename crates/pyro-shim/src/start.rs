//! The beginning of a shim: a process of its own, a lock, a launch file, and the ways of signals,
//! timers and the owner into the supervisor's queue.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use futures::FutureExt;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{LAUNCH_FILE, LaunchEvent, LaunchSpec, Machine};
use pyro_wire::reached;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::backend::gvisor::GvisorBackend;
use crate::backend::process::ProcessBackend;
use crate::backend::qemu::QemuBackend;
use crate::backend::{Backend, descendants};
use crate::boot::{self, BootOptions};
use crate::control::Clients;
use crate::detach;
use crate::events::Events;
use crate::folder;
use crate::handle::{Request, expire_at};
use crate::jail::OwnWalls;
use crate::liveness::Liveness;
use crate::owner;
use crate::services;
use crate::supervisor::{State, Supervisor};

/// Descriptors that a shim may have.
const OPEN_FILES: u64 = 8192;

/// How often the shim of a VM without an owner looks whether its folder is still there.
const LOOK_FOR_FOLDER: Duration = Duration::from_secs(5);

/// See [`crate::run`].
pub(crate) fn run(dir: &Path, taken_over: Option<fn()>) -> ExitCode {
    let started = Instant::now();
    detach::detach();
    let files = raise_open_files();
    let Ok(output) = detach::take_output() else {
        return ExitCode::FAILURE;
    };
    let events = Events::to(output);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(supervise(dir, started, files, &events, taken_over)),
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

/// Raises the limit of descriptors, and says what it is. A usual one is 1024, and the busiest VM has
/// more; with less there are fewer connections at one time.
fn raise_open_files() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    let wanted = soft.max(hard.min(OPEN_FILES));
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(_) => soft,
    }
}

/// Everything before the states: what fails here has started nothing.
async fn supervise(
    dir: &Path,
    started: Instant,
    files: u64,
    events: &Events,
    taken_over: Option<fn()>,
) -> Result<ExitCode, Fault> {
    folder::enter(dir)?;
    let lock = Liveness::take()?;
    let spec = folder::read_spec()?;
    if spec.timings {
        events.forward_steps();
    }
    reached!("folder locked, launch file read");
    folder::remove_end_record();
    services::clear();
    descendants::become_subreaper();
    let (sender, requests) = mpsc::channel(64);
    watch_signals_and_timers(&spec, &sender)
        .map_err(|error| host_io("the shim could not set up its signals and timers", error))?;
    let clients = Clients::serve(sender.clone(), files)
        .map_err(|error| host_io("the control socket could not be made", error))?;

    let backend: Box<dyn Backend> = match spec.machine.clone() {
        Machine::Process(process) => Box::new(ProcessBackend::new(process)),
        Machine::Qemu(qemu) => {
            let lock = share(&lock)?;
            Box::new(QemuBackend::new(qemu, Some(lock), spec.remove_when_over))
        }
        Machine::Gvisor(gvisor) => {
            let lock = share(&lock)?;
            let hostname = spec.hostname.clone();
            let disposable = spec.remove_when_over;
            Box::new(GvisorBackend::new(gvisor, hostname, Some(lock), disposable))
        }
    };
    let options = BootOptions {
        hostname: spec.hostname.clone(),
        deadline: Duration::from_millis(spec.boot_deadline_ms),
        started,
        timings: spec.timings,
        env: spec.env.clone(),
        user: spec.user.clone(),
        new_disk: spec.new_disk,
    };
    reached!("control socket open");
    let walls = OwnWalls::of(&spec, taken_over);
    let boot = async move { boot::boot(backend, &options, events).await };
    let supervisor = Supervisor {
        remove_when_over: spec.remove_when_over,
        idle: spec.idle_ms.map(Duration::from_millis),
        bound_to_owner: spec.bound_to_owner,
        walls,
        lock,
        queue: sender,
        requests,
        clients,
        events,
    };
    Ok(supervisor.run(State::Starting(boot.boxed_local())).await)
}

/// Puts signals, the owner's end and the end of the time to live into the queue.
fn watch_signals_and_timers(
    spec: &LaunchSpec,
    queue: &mpsc::Sender<Request>,
) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let to = queue.clone();
    tokio::spawn(async move {
        while terminate.recv().await.is_some() && to.send(Request::Terminate).await.is_ok() {}
    });

    // Taken in any case: nobody's pipe is held open for the life of a VM.
    let input = detach::take_input()?;
    let (bound, until_released) = (spec.bound_to_owner, spec.bound_until_released);
    if bound || until_released {
        let to = queue.clone();
        tokio::spawn(async move {
            if bound {
                owner::closed(input).await;
            } else if owner::released(input).await {
                return;
            }
            let _ = to.send(Request::OwnerGone).await;
        });
    }

    if !bound {
        end_with_folder(queue);
    }
    if let Some(at_ms) = spec.expires_at_ms {
        expire_at(at_ms, queue)?;
    }
    Ok(())
}

/// A VM whose folder somebody deleted can be reached by nobody any more, and would run for ever.
fn end_with_folder(queue: &mpsc::Sender<Request>) {
    let to = queue.clone();
    tokio::spawn(async move {
        while Path::new(LAUNCH_FILE).exists() {
            tokio::time::sleep(LOOK_FOR_FOLDER).await;
        }
        let _ = to.send(Request::Terminate).await;
    });
}

fn share(lock: &Liveness) -> Result<OwnedFd, Fault> {
    lock.share()
        .map_err(|error| host_io("the lock could not be shared", error))
}

fn host_io(what: &str, error: std::io::Error) -> Fault {
    Fault::new(FaultCode::of_io(&error), format!("{what}: {error}"))
}
