//! Looks whether a service can be used: at once, then soon, then every so often.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyro_wire::agent::{Command, Exec};
use pyro_wire::service::{Readiness, ServiceStart};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::http;
use super::pump::pump;
use super::service::Service;
use crate::agent::Agent;
use crate::lock::lock;
use crate::clock::Laps;
use crate::command::{self, Running};
use crate::reaper::Exit;

/// How long one look may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const HTTP_LIMIT: Duration = Duration::from_secs(2);
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// The first pause, for looks that cost next to nothing: most services need less than the contract's
/// half a second.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How much of what a command writes to its standard error is told.
const SAID: usize = 400;

/// How long the last words of a command that has ended may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(200);

const HOSTS: &str = "/etc/hosts";

/// Resolves when the service is ready. Dropping it ends a look that is under way. What each look saw
/// is told to the service.
pub(super) async fn wait(
    agent: &Agent,
    service: &Service,
    request: &ServiceStart,
    readiness: &Readiness,
) {
    let longest = Duration::from_millis(request.ready_interval_ms.max(1));
    let mut pause = match readiness {
        Readiness::Command(_) => longest,
        _ => longest.min(FIRST_PAUSE),
    };
    service.is_not_ready_yet("the first look has not ended".into());
    while let Err(why) = look(agent, request, readiness).await {
        service.is_not_ready_yet(agent.secrets.clean(&why));
        sleep(pause).await;
        pause = (2 * pause).min(longest);
    }
}

/// Whether it is ready, or why not.
async fn look(agent: &Agent, request: &ServiceStart, readiness: &Readiness) -> Result<(), String> {
    match readiness {
        Readiness::File(path) => match command::folder(&agent.place, Some(path)).try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err("there is no such file".into()),
            Err(error) => Err(words(&error)),
        },
        Readiness::Tcp { host, port } => {
            in_time(CONNECT_LIMIT, connect(host, *port)).await.map(drop)
        }
        Readiness::Http(url) => match in_time(HTTP_LIMIT, http::status(url)).await? {
            200..=399 => Ok(()),
            status => Err(format!("it answered with status {status}")),
        },
        Readiness::Command(command) => succeeds(agent, request, command, COMMAND_LIMIT).await,
    }
}

async fn in_time<T>(
    limit: Duration,
    look: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    timeout(limit, look).await.map_err(|_| late(limit))?
}

fn late(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs())
}

/// What went wrong, without the number of the error.
pub(super) fn words(error: &io::Error) -> String {
    let words = error.to_string();
    let end = words.find(" (os error").unwrap_or(words.len());
    words[..end].to_lowercase()
}

/// Runs a command as the service itself runs; nothing of it lives on.
async fn succeeds(
    agent: &Agent,
    request: &ServiceStart,
    command: &Command,
    limit: Duration,
) -> Result<(), String> {
    let exec = Exec {
        command: command.clone(),
        cwd: request.cwd.clone(),
        env: request.env.clone(),
        secret_env: request.secret_env.clone(),
        timeout_ms: None,
        input: false,
        timings: false,
    };
    let running = command::start(agent, &exec, &mut Laps::begin(false));
    let Running {
        group,
        stdout,
        stderr,
        exit,
        ..
    } = running.map_err(|error| error.to_string())?;
    tokio::spawn(pump(stdout, agent.secrets.redactor(), |_| {}));
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let mut hearing = tokio::spawn(pump(stderr, agent.secrets.redactor(), move |bytes| {
        let mut heard = lock(&heard);
        heard.extend_from_slice(bytes);
        let surplus = heard.len().saturating_sub(SAID);
        heard.drain(..surplus);
    }));
    let ended = timeout(limit, exit).await;
    drop(group);
    let how = match ended {
        Ok(Ok(Exit::Code(0))) => return Ok(()),
        Ok(Ok(Exit::Code(code))) => format!("the command ended with status {code}"),
        Ok(Ok(Exit::Signal(number))) => format!("the command was ended by signal {number}"),
        Ok(Err(_)) => "the command was lost".into(),
        Err(_) => late(limit),
    };
    let _ = timeout(LAST_WORDS, &mut hearing).await;
    let said = lock(&said);
    let said = String::from_utf8_lossy(&said);
    match said.trim() {
        "" => Err(how),
        said => Err(format!("{how}: {said}")),
    }
}

/// A connection to the first address of a host that takes one.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = addresses(host, &std::fs::read_to_string(HOSTS).unwrap_or_default());
    if addresses.is_empty() {
        return Err(format!(
            "`{host}` is no address, and not in {HOSTS} of the guest"
        ));
    }
    let mut refusals = Vec::new();
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => refusals.push(format!("{address} port {port}: {}", words(&error))),
        }
    }
    Err(refusals.join("; "))
}

/// What a host's name means. A static binary has no name service to ask beyond this file, and a
/// readiness is about the guest itself.
fn addresses(host: &str, hosts: &str) -> Vec<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    if host.eq_ignore_ascii_case("localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    let lines = hosts.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words
            .any(|name| name.eq_ignore_ascii_case(host))
            .then_some(address)
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Place;
    use crate::clock::Trace;
    use crate::reaper::Reaper;

    #[test]
    fn hosts_are_addresses_or_in_the_file() {
        let hosts = "127.0.0.1 localhost\n10.0.0.2 db other # 10.0.0.3 no\nfe80::1 db\nbroken db\n";
        let of = |host| addresses(host, hosts);
        assert_eq!(of("::1"), [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert_eq!(of("[::1]"), of("::1"));
        assert_eq!(of("localhost").len(), 2);
        assert_eq!(
            of("DB"),
            ["10.0.0.2", "fe80::1"].map(|text| text.parse::<IpAddr>().unwrap())
        );
        assert!(of("no").is_empty() && of("").is_empty());
    }

    #[tokio::test]
    async fn every_address_that_was_tried_is_named() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let why = connect("localhost", port).await.unwrap_err();
        let refused = format!("127.0.0.1 port {port}: connection refused; ::1 port {port}: ");
        assert!(why.starts_with(&refused), "{why}");
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_heard() {
        let place = Place::Host {
            folder: std::env::temp_dir(),
        };
        let agent = Agent::new(place, Reaper::start().unwrap(), Trace::default());
        let command = Command::Shell(b"echo waits for db >&2; exec sleep 60".to_vec().into());
        let request = ServiceStart {
            name: "web".into(),
            instance: 1,
            command: command.clone(),
            cwd: None,
            env: Vec::new(),
            secret_env: Vec::new(),
            readiness: None,
            ready_timeout_ms: 1000,
            ready_interval_ms: 10,
        };
        let limit = Duration::from_secs(2);
        let why = succeeds(&agent, &request, &command, limit).await;
        assert_eq!(why.unwrap_err(), "no answer within 2 s: waits for db");
    }
}
