//! Published ports: how long a small answer takes over a new connection, and how long a large one.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use pyro_api::operations::service_start::{ServiceStart, ServiceStarted};
use pyro_api::values::NetworkPolicy;
use pyro_api::{Caller, Handle};
use pyro_engine::Engine;
use serde_json::json;
use tokio::sync::oneshot;

use super::contender::{Contender, League, Turn, Work};
use super::docker::Docker;
use super::lazy::Lazy;
use super::process::HUNG;
use super::workspace::Workspace;

/// Where the server listens, in its guest or container.
pub(crate) const GUEST_PORT: u16 = 8000;

/// Makes the files and serves them, everywhere the same.
pub(crate) const SERVER: &str = "mkdir -p /srv && echo x > /srv/small && \
     head -c 33554432 /dev/zero > /srv/large && \
     exec python3 -m http.server 8000 --directory /srv";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Small,
    Large,
}

impl Page {
    const ALL: [Self; 2] = [Self::Small, Self::Large];

    fn path(self) -> &'static str {
        match self {
            Self::Small => "/small",
            Self::Large => "/large",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Small => 2,
            Self::Large => 32 << 20,
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Small => "a connection and 2 bytes",
            Self::Large => "32 MiB",
        }
    }
}

/// A workspace whose server is published.
pub(crate) fn published(engine: &Arc<Engine>) -> Rc<Lazy<(Workspace, u16)>> {
    let engine = Arc::clone(engine);
    Lazy::new(move || {
        let engine = Arc::clone(&engine);
        async move { serve(&engine).await }
    })
}

async fn serve(engine: &Arc<Engine>) -> Result<(Workspace, u16)> {
    let policy = NetworkPolicy::EgressPublishedPorts;
    let workspace = Workspace::networked(engine, policy, Vec::new()).await?;
    let start: ServiceStart = serde_json::from_value(json!({
        "workspace_id": workspace.id,
        "service_name": "server",
        "command": SERVER,
        "ready_http": format!("http://127.0.0.1:{GUEST_PORT}/small"),
        "ready_timeout_seconds": HUNG.as_secs(),
        "published_ports": [{ "guest_port": GUEST_PORT }],
    }))?;
    let started: ServiceStarted = engine.handle(start, &Caller::new()).await?;
    let Some(port) = started.service.published_ports.first() else {
        bail!("the server is not published: {started:?}");
    };
    Ok((workspace, port.host_port))
}

pub(crate) async fn contenders(
    workspace: &Rc<Lazy<(Workspace, u16)>>,
    docker: Result<&Docker, &String>,
) -> Result<Vec<Contender>> {
    let published = match docker {
        Ok(docker) => Ok((docker.publish().await?, namespace_of_docker()?)),
        Err(why) => Err(why),
    };
    let mut contenders = Vec::new();
    for page in Page::ALL {
        let ours = Fetch {
            page,
            server: Server::Guest(Rc::clone(workspace)),
        };
        let label = format!("published port of a service in a VM: {}", page.shown());
        contenders.push(Contender::new(label, ours).league(League::Port(page)));
        let label = format!("`docker run --publish`: {}", page.shown());
        contenders.push(match &published {
            Ok((port, namespace)) => Contender::new(
                label,
                Fetch {
                    page,
                    server: Server::Container {
                        port: *port,
                        namespace: namespace.clone(),
                    },
                },
            )
            .league(League::Port(page))
            .yardstick(),
            Err(why) => Contender::missing(label, why.as_str()),
        });
    }
    Ok(contenders)
}

/// The network in which Docker's engine publishes ports, which may be one of its own.
fn namespace_of_docker() -> Result<PathBuf> {
    let host = std::env::var("DOCKER_HOST")?;
    let socket = host
        .strip_prefix("unix://")
        .context("DOCKER_HOST is not a socket of this host")?;
    let engine = getsockopt(&UnixStream::connect(socket)?, PeerCredentials)?;
    Ok(format!("/proc/{}/ns/net", engine.pid()).into())
}

enum Server {
    Guest(Rc<Lazy<(Workspace, u16)>>),
    Container { port: u16, namespace: PathBuf },
}

struct Fetch {
    page: Page,
    server: Server,
}

impl Work for Fetch {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let page = self.page;
            let (port, namespace) = match &self.server {
                Server::Guest(workspace) => (workspace.get().await?.1, None),
                Server::Container { port, namespace } => (*port, Some(namespace.clone())),
            };
            let (told, took) = oneshot::channel();
            // A thread of its own: it does not come back from the other network.
            std::thread::spawn(move || {
                let _ = told.send(fetch(page, port, namespace));
            });
            took.await?
        })
    }
}

fn fetch(page: Page, port: u16, namespace: Option<PathBuf>) -> Result<Duration> {
    if let Some(namespace) = namespace {
        setns(
            std::fs::File::open(namespace)?.as_fd(),
            CloneFlags::CLONE_NEWNET,
        )?;
    }
    let begun = Instant::now();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(HUNG))?;
    write!(stream, "GET {} HTTP/1.0\r\n\r\n", page.path())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let took = begun.elapsed();
    let head = answer.len().saturating_sub(page.bytes());
    ensure!(
        answer.starts_with(b"HTTP/1.0 200") && answer[..head].ends_with(b"\r\n\r\n"),
        "{} bytes came of {}",
        answer.len(),
        page.path()
    );
    Ok(took)
}
