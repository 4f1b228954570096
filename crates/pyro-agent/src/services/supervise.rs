//! The life of one service, from its start to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pyro_wire::agent::Exec;
use pyro_wire::fault::Fault;
use pyro_wire::service::{ServiceEnd, ServicePhase, ServiceStart};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::pump::pump;
use super::ready;
use super::service::{Service, Wish};
use crate::agent::Agent;
use crate::clock::Laps;
use crate::command::{self, Running};
use crate::ending::end;
use crate::reaper::Exit;

/// How long the last words of ended processes may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a service ends of.
enum Cause {
    Exit(Option<Exit>),
    NotReady,
    Wish(Wish),
}

/// Starts a service and stays with it. Says first whether it could be started at all.
pub(super) async fn run(
    agent: Arc<Agent>,
    service: Arc<Service>,
    request: ServiceStart,
    told: oneshot::Sender<Result<(), Fault>>,
) {
    let exec = Exec {
        command: request.command.clone(),
        cwd: request.cwd.clone(),
        env: request.env.clone(),
        secret_env: request.secret_env.clone(),
        timeout_ms: None,
        input: false,
        timings: false,
    };
    let running = match command::start(&agent, &exec, &mut Laps::begin(false)) {
        Ok(running) => running,
        Err(error) => {
            let Some(exit_code) = error.exit_code() else {
                let _ = told.send(Err(error.fault()));
                return;
            };
            // As a shell would have said it.
            let words = agent.secrets.clean(&format!("pyro: {error}\n"));
            service.stderr.push(words.as_bytes());
            let why = ServiceEnd::ProcessExitedBeforeReady;
            service.ended(ServicePhase::Failed, exit_code, Some(why));
            let _ = told.send(Ok(()));
            return;
        }
    };
    let Running {
        pid,
        group,
        stdout,
        stderr,
        mut exit,
        ..
    } = running;
    service.begun(pid, group.memory_events());
    let _ = told.send(Ok(()));
    let pumps = {
        let [first, second] = [Arc::clone(&service), Arc::clone(&service)];
        let redactor = || agent.secrets.redactor();
        [
            tokio::spawn(pump(stdout, redactor(), move |bytes| {
                first.stdout.push(bytes)
            })),
            tokio::spawn(pump(stderr, redactor(), move |bytes| {
                second.stderr.push(bytes)
            })),
        ]
    };

    let cause = match until_ready(&agent, &service, &request, &mut exit).await {
        Some(cause) => cause,
        None => {
            service.is_ready_now();
            tokio::select! {
                biased;
                exit = &mut exit => Cause::Exit(exit.ok()),
                wish = service.asked_to_end() => Cause::Wish(wish),
            }
        }
    };
    let was_ready = service.state().ready;
    let (exit, killed) = match cause {
        Cause::Exit(exit) => {
            group.kill_rest();
            (exit, false)
        }
        Cause::NotReady | Cause::Wish(_) => end(&group, &mut exit).await,
    };
    service.note_memory();
    // Nobody is left who could write.
    drop(group);
    read_to_the_end(pumps).await;
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
        Cause::Wish(Wish::StopAll) => (ServicePhase::Stopped, Some(ServiceEnd::WorkspaceStopped)),
        Cause::Wish(Wish::Stop) if killed => (ServicePhase::Stopped, Some(ServiceEnd::Sigkill)),
        Cause::Wish(Wish::Stop) => (ServicePhase::Stopped, Some(ServiceEnd::Sigterm)),
    };
    service.ended(phase, exit_code, reason);
}

/// Waits until a service can be used. `Some`: it came to something else.
async fn until_ready(
    agent: &Agent,
    service: &Service,
    request: &ServiceStart,
    exit: &mut oneshot::Receiver<Exit>,
) -> Option<Cause> {
    let readiness = request.readiness.as_ref()?;
    let ready = pin!(ready::wait(agent, service, request, readiness));
    tokio::select! {
        biased;
        exit = exit => Some(Cause::Exit(exit.ok())),
        wish = service.asked_to_end() => Some(Cause::Wish(wish)),
        // A look that is under way is given up.
        () = sleep(Duration::from_millis(request.ready_timeout_ms)) => Some(Cause::NotReady),
        () = ready => None,
    }
}

async fn read_to_the_end(pumps: [JoinHandle<()>; 2]) {
    let deadline = Instant::now() + LAST_WORDS;
    for mut pump in pumps {
        if timeout_at(deadline, &mut pump).await.is_err() {
            pump.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use pyro_wire::agent::Command;

    use super::*;
    use crate::agent::Place;
    use crate::clock::Trace;
    use crate::reaper::Reaper;

    #[tokio::test]
    async fn the_name_of_a_program_that_is_not_there_tells_no_secret() {
        let place = Place::Host {
            folder: std::env::temp_dir(),
        };
        let agent = Arc::new(Agent::new(place, Reaper::idle(), Trace::default()));
        agent.secrets.hold(&[("TOKEN", "hunter-2")]);
        let service = Arc::new(Service::new("web".into(), 1));
        let request = ServiceStart {
            name: "web".into(),
            instance: 1,
            command: Command::Program(vec![b"/none/hunter-2".to_vec().into()]),
            cwd: None,
            env: Vec::new(),
            secret_env: Vec::new(),
            readiness: None,
            ready_timeout_ms: 1000,
            ready_interval_ms: 10,
        };
        let (told, began) = oneshot::channel();
        run(agent, Arc::clone(&service), request, told).await;
        assert_eq!(began.await.unwrap(), Ok(()));
        let log = service.stderr.read(0, usize::MAX).bytes;
        let log = String::from_utf8(log).unwrap();
        assert_eq!(log, "pyro: /none/[REDACTED]: command not found\n");
    }
}
