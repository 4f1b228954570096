//! The life of one service, from its start to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pyro_wire::fault::Fault;
use pyro_wire::service::{ServiceEnd, ServicePhase, ServiceStart};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::pump::pump;
use super::readiness;
use super::service::{Service, StopRequest};
use crate::clock::Laps;
use crate::launcher::{Launcher, Process};
use crate::reaper::Exit;
use crate::terminate::terminate;

/// How long reading the rest of the output may take when all processes have ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Why a service ends.
enum Cause {
    Exit(Option<Exit>),
    NotReady,
    Requested(StopRequest),
}

/// Starts a service and stays with it. Says first whether it could be started at all.
pub(super) async fn run(
    launcher: Arc<Launcher>,
    service: Arc<Service>,
    request: ServiceStart,
    started: oneshot::Sender<Result<(), Fault>>,
) {
    launcher.starts.allowed().await;
    let exec = request.exec(&request.command);
    let (pipes, process) = match launcher.start(&exec, &mut Laps::begin(false)) {
        Ok(started) => started,
        Err(error) => {
            let Some(exit_code) = error.exit_code() else {
                let _ = started.send(Err(error.fault()));
                return;
            };
            // As a shell would have said it.
            let words = launcher.secrets.redact(&format!("pyro: {error}\n"));
            service.stderr.push(words.as_bytes());
            let why = ServiceEnd::ProcessExitedBeforeReady;
            service.set_ended(ServicePhase::Failed, exit_code, Some(why));
            let _ = started.send(Ok(()));
            return;
        }
    };
    service.set_started(process.pid(), process.group.memory_events());
    let Process {
        group, mut exit, ..
    } = process;
    let _ = started.send(Ok(()));
    let pumps = {
        let [first, second] = [Arc::clone(&service), Arc::clone(&service)];
        let redactor = || launcher.secrets.redactor();
        [
            tokio::spawn(pump(pipes.stdout, redactor(), move |bytes| {
                first.stdout.push(bytes)
            })),
            tokio::spawn(pump(pipes.stderr, redactor(), move |bytes| {
                second.stderr.push(bytes)
            })),
        ]
    };

    let cause = match until_ready(&launcher, &service, &request, &mut exit).await {
        Some(cause) => cause,
        None => {
            service.set_ready();
            tokio::select! {
                biased;
                exit = &mut exit => Cause::Exit(exit.ok()),
                request = service.stop_requested() => Cause::Requested(request),
            }
        }
    };
    let was_ready = service.state().ready;
    let (exit, killed) = match cause {
        Cause::Exit(exit) => {
            group.kill_rest();
            (exit, false)
        }
        Cause::NotReady | Cause::Requested(_) => terminate(&group, &mut exit).await,
    };
    service.note_memory();
    // Nobody is left who could write.
    drop(group);
    drain(pumps).await;
    let exit_code = match exit {
        Some(Exit::Code(code)) => code,
        Some(Exit::Signal(number)) => 128 + number,
        // It was killed, though it has not noticed yet.
        None => 128 + libc::SIGKILL,
    };
    let (phase, reason) = match cause {
        Cause::Exit(_) if was_ready => (ServicePhase::Exited, None),
        Cause::Exit(_) => (
            ServicePhase::Failed,
            Some(ServiceEnd::ProcessExitedBeforeReady),
        ),
        Cause::NotReady => (ServicePhase::Failed, Some(ServiceEnd::ReadinessTimeout)),
        Cause::Requested(StopRequest::Everything) => {
            (ServicePhase::Stopped, Some(ServiceEnd::WorkspaceStopped))
        }
        Cause::Requested(StopRequest::Service) if killed => {
            (ServicePhase::Stopped, Some(ServiceEnd::Sigkill))
        }
        Cause::Requested(StopRequest::Service) => {
            (ServicePhase::Stopped, Some(ServiceEnd::Sigterm))
        }
    };
    service.set_ended(phase, exit_code, reason);
}

/// Waits until a service can be used. `Some`: it came to something else.
async fn until_ready(
    launcher: &Launcher,
    service: &Service,
    request: &ServiceStart,
    exit: &mut oneshot::Receiver<Exit>,
) -> Option<Cause> {
    let readiness = request.readiness.as_ref()?;
    let ready = pin!(readiness::wait(launcher, service, request, readiness));
    tokio::select! {
        biased;
        exit = exit => Some(Cause::Exit(exit.ok())),
        request = service.stop_requested() => Some(Cause::Requested(request)),
        // A probe that is under way is given up.
        () = sleep(Duration::from_millis(request.ready_timeout_ms)) => Some(Cause::NotReady),
        () = ready => None,
    }
}

async fn drain(pumps: [JoinHandle<()>; 2]) {
    let deadline = Instant::now() + DRAIN_LIMIT;
    for mut pump in pumps {
        if timeout_at(deadline, &mut pump).await.is_err() {
            pump.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use pyro_wire::exec::Command;

    use super::*;
    use crate::backend::Backend;
    use crate::reaper::Reaper;

    #[tokio::test]
    async fn the_name_of_a_program_that_is_not_there_tells_no_secret() {
        let backend = Backend::Process {
            folder: std::env::temp_dir(),
        };
        let launcher = Arc::new(Launcher::new(backend, Reaper::idle()));
        launcher.secrets.hold(&[("TOKEN", "hunter-2")]);
        let service = Arc::new(Service::new("web".into(), 1));
        let request = ServiceStart {
            name: "web".into(),
            instance: 1,
            command: Command::Program(vec![b"/none/hunter-2".to_vec().into()]),
            cwd: None,
            user: None,
            env: Vec::new(),
            secret_env: Vec::new(),
            readiness: None,
            ready_timeout_ms: 1000,
            ready_interval_ms: 10,
        };
        let (started, starting) = oneshot::channel();
        run(launcher, Arc::clone(&service), request, started).await;
        assert_eq!(starting.await.unwrap(), Ok(()));
        let log = service.stderr.read(0, usize::MAX).bytes;
        let log = String::from_utf8(log).unwrap();
        assert_eq!(log, "pyro: /none/[REDACTED]: command not found\n");
    }
}
