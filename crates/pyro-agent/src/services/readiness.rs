//! The readiness probe of a service: at once, then soon, then every so often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyro_wire::exec::Command;
use pyro_wire::service::{Readiness, ServiceStart};
use tokio::time::{sleep, timeout};

use super::connect::{connect, describe};
use super::http;
use super::pump::pump;
use super::service::Service;
use crate::clock::Laps;
use crate::command;
use crate::launcher::{Launcher, Process};
use crate::lock::lock;
use crate::reaper::Exit;

/// How long one probe may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const HTTP_LIMIT: Duration = Duration::from_secs(2);
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// The first pause, for probes that cost next to nothing: most services need less than the contract's
/// half a second.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How many of the last bytes of a command's standard error are told.
const STDERR_TAIL: usize = 400;

/// How long reading the rest of a command's standard error may take when it has ended.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);

/// Resolves when the service is ready. Dropping it ends a probe that is under way. What each saw is
/// told to the service.
pub(super) async fn wait(
    launcher: &Launcher,
    service: &Service,
    request: &ServiceStart,
    readiness: &Readiness,
) {
    let longest = Duration::from_millis(request.ready_interval_ms.max(1));
    let mut pause = match readiness {
        Readiness::Command(_) => longest,
        _ => longest.min(FIRST_PAUSE),
    };
    service.set_not_ready("the first check has not finished".into());
    while let Err(why) = probe(launcher, request, readiness).await {
        service.set_not_ready(launcher.secrets.redact(&why));
        sleep(pause).await;
        pause = (2 * pause).min(longest);
    }
}

/// Whether it is ready, or why not.
async fn probe(
    launcher: &Launcher,
    request: &ServiceStart,
    readiness: &Readiness,
) -> Result<(), String> {
    match readiness {
        Readiness::File(path) => {
            match command::folder(&launcher.backend, Some(path)).try_exists() {
                Ok(true) => Ok(()),
                Ok(false) => Err("there is no such file".into()),
                Err(error) => Err(describe(&error)),
            }
        }
        Readiness::Tcp { host, port } => {
            within(CONNECT_LIMIT, connect(host, *port)).await.map(drop)
        }
        Readiness::Http(url) => match within(HTTP_LIMIT, http::status(url)).await? {
            200..=399 => Ok(()),
            status => Err(format!("it answered with status {status}")),
        },
        Readiness::Command(command) => {
            probe_command(launcher, request, command, COMMAND_LIMIT).await
        }
    }
}

async fn within<T>(
    limit: Duration,
    probe: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    timeout(limit, probe).await.map_err(|_| late(limit))?
}

fn late(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs())
}

/// Runs a command as the service itself runs; nothing of it lives on.
async fn probe_command(
    launcher: &Launcher,
    request: &ServiceStart,
    command: &Command,
    limit: Duration,
) -> Result<(), String> {
    launcher.starts.allowed().await;
    let exec = request.exec(command);
    let started = launcher.start(&exec, &mut Laps::begin(false));
    let (pipes, Process { group, exit, .. }) = started.map_err(|error| error.to_string())?;
    tokio::spawn(pump(pipes.stdout, launcher.secrets.redactor(), |_| {}));
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let mut hearing = tokio::spawn(pump(
        pipes.stderr,
        launcher.secrets.redactor(),
        move |bytes| {
            let mut heard = lock(&heard);
            heard.extend_from_slice(bytes);
            let surplus = heard.len().saturating_sub(STDERR_TAIL);
            heard.drain(..surplus);
        },
    ));
    let ended = timeout(limit, exit).await;
    drop(group);
    let how = match ended {
        Ok(Ok(Exit::Code(0))) => return Ok(()),
        Ok(Ok(Exit::Code(code))) => format!("the command exited with status {code}"),
        Ok(Ok(Exit::Signal(number))) => format!("the command was killed by signal {number}"),
        Ok(Err(_)) => "the command was lost".into(),
        Err(_) => late(limit),
    };
    let _ = timeout(DRAIN_LIMIT, &mut hearing).await;
    let said = lock(&said);
    let said = String::from_utf8_lossy(&said);
    match said.trim() {
        "" => Err(how),
        said => Err(format!("{how}: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::reaper::{CHILDREN, Reaper};

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_heard() {
        let _children = CHILDREN.lock().await;
        let backend = Backend::Process {
            folder: std::env::temp_dir(),
        };
        let launcher = Launcher::new(backend, Reaper::start().unwrap());
        let command = Command::Shell(b"echo waits for db >&2; exec sleep 60".to_vec().into());
        let request = ServiceStart {
            name: "web".into(),
            instance: 1,
            command: command.clone(),
            cwd: None,
            user: None,
            env: Vec::new(),
            secret_env: Vec::new(),
            readiness: None,
            ready_timeout_ms: 1000,
            ready_interval_ms: 10,
        };
        let limit = Duration::from_secs(2);
        let why = probe_command(&launcher, &request, &command, limit).await;
        assert_eq!(why.unwrap_err(), "no answer within 2 s: waits for db");
    }
}
