//! Looks whether a service can be used: at once, then soon, then every so often.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use pyro_wire::agent::{Command, Exec};
use pyro_wire::service::{Readiness, ServiceStart};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::http;
use crate::agent::Agent;
use crate::clock::Laps;
use crate::command::{self, Running};
use crate::output::Outputs;
use crate::reaper::Exit;

/// How long one look may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const HTTP_LIMIT: Duration = Duration::from_secs(2);
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// The first pause, for looks that cost next to nothing: most services need less than the contract's
/// half a second.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

const HOSTS: &str = "/etc/hosts";

/// Resolves when the service is ready. Dropping it ends a look that is under way.
pub(super) async fn wait(agent: &Agent, request: &ServiceStart, readiness: &Readiness) {
    let longest = Duration::from_millis(request.ready_interval_ms.max(1));
    let mut pause = match readiness {
        Readiness::Command(_) => longest,
        _ => longest.min(FIRST_PAUSE),
    };
    while !look(agent, request, readiness).await {
        sleep(pause).await;
        pause = (2 * pause).min(longest);
    }
}

async fn look(agent: &Agent, request: &ServiceStart, readiness: &Readiness) -> bool {
    match readiness {
        Readiness::File(path) => command::folder(&agent.place, Some(path)).exists(),
        Readiness::Tcp { host, port } => {
            let connected = timeout(CONNECT_LIMIT, connect(host, *port)).await;
            matches!(connected, Ok(Some(_)))
        }
        Readiness::Http(url) => {
            let answered = timeout(HTTP_LIMIT, http::status(url)).await;
            matches!(answered, Ok(Some(200..=399)))
        }
        Readiness::Command(command) => {
            let succeeded = timeout(COMMAND_LIMIT, succeeds(agent, request, command)).await;
            succeeded.unwrap_or(false)
        }
    }
}

/// Runs a command as the service itself runs; nothing of it lives on.
async fn succeeds(agent: &Agent, request: &ServiceStart, command: &Command) -> bool {
    let exec = Exec {
        command: command.clone(),
        cwd: request.cwd.clone(),
        env: request.env.clone(),
        secret_env: request.secret_env.clone(),
        timeout_ms: None,
        input: false,
        timings: false,
    };
    let Ok(running) = command::start(agent, &exec, &mut Laps::begin(false)) else {
        return false;
    };
    let Running {
        group: _group,
        stdout,
        stderr,
        exit,
        ..
    } = running;
    Outputs::new(stdout, stderr, &agent.secrets).discard();
    matches!(exit.await, Ok(Exit::Code(0)))
}

/// A connection to the first address of a host that takes one.
pub(super) async fn connect(host: &str, port: u16) -> Option<TcpStream> {
    for address in addresses(host, &std::fs::read_to_string(HOSTS).unwrap_or_default()) {
        if let Ok(stream) = TcpStream::connect(SocketAddr::new(address, port)).await {
            return Some(stream);
        }
    }
    None
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
}
