//! Bytes from outside: pyro's network next to Docker's bridge. Each asks a server of its own: the
//! guest one on this host (by its router, as its loopback was allowed), the container one in another
//! container. What is measured is what the asking program sees, not its start.

use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pyro_api::values::{AllowNet, CommandLine, NetworkPolicy};
use pyro_engine::Engine;
use pyro_wire::network::GATEWAY_V4;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::contender::{Contender, League, Turn, Work};
use super::docker::Docker;
use super::lazy::Lazy;
use super::process;
use super::workspace::Workspace;

/// Sends as many bytes as it is asked for.
const SERVER: &str = r"
import socket, struct, sys, threading
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=512)
print(listener.getsockname()[1], flush=True)
def serve(peer):
    with peer:
        left = struct.unpack('!Q', peer.recv(8, socket.MSG_WAITALL))[0]
        chunk = bytes(1 << 20)
        while left:
            left -= peer.send(chunk[:left])
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";

/// Prints how many seconds one request took, the median of several.
const CLIENT: &str = r"
import socket, statistics, struct, sys, time
host, port, size, repeat = sys.argv[1], *map(int, sys.argv[2:5])
took, room = [], bytearray(1 << 20)
for _ in range(repeat):
    begun, got = time.monotonic(), 0
    with socket.create_connection((host, port)) as sock:
        sock.sendall(struct.pack('!Q', size))
        while more := sock.recv_into(room):
            got += more
    took.append(time.monotonic() - begun)
    assert got == size, got
print(statistics.median(took))
";

/// What is asked for: bytes, and how often in one turn.
const BULK: (u64, u32) = (64 << 20, 1);
const SMALL: (u64, u32) = (1, 40);

const PORT: u16 = 8123;

/// A server on this host and a guest that reaches it.
pub(crate) struct Egress {
    workspace: Workspace,
    port: u16,
    _server: Child,
}

impl Egress {
    pub(crate) fn of(engine: &Arc<Engine>) -> Rc<Lazy<Self>> {
        let engine = Arc::clone(engine);
        Lazy::new(move || {
            let engine = Arc::clone(&engine);
            async move { Self::prepare(&engine).await }
        })
    }

    async fn prepare(engine: &Arc<Engine>) -> Result<Self> {
        let mut server = Command::new("python3")
            .args(["-c", SERVER, "127.0.0.1", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the server")?;
        let told = server.stdout.take().context("no pipe from the server")?;
        let mut line = String::new();
        BufReader::new(told).read_line(&mut line).await?;
        let port: u16 = line.trim().parse().context("the server's port")?;
        let allow: AllowNet = format!("127.0.0.1:{port}").parse()?;
        let workspace = Workspace::networked(engine, NetworkPolicy::Egress, vec![allow]).await?;
        Ok(Self {
            workspace,
            port,
            _server: server,
        })
    }
}

pub(crate) async fn contenders(
    egress: &Rc<Lazy<Egress>>,
    docker: Result<&Docker, &String>,
) -> Result<Vec<Contender>> {
    let containers = match docker {
        Ok(docker) => Ok(docker
            .bridged(&["python3", "-c", SERVER, "0.0.0.0"], PORT)
            .await?),
        Err(why) => Err(why.clone()),
    };
    let mut contenders = Vec::new();
    for (what, league, wish) in [
        ("64 MiB over one connection", League::Bulk, BULK),
        ("connect, ask, hear one byte, close", League::Connect, SMALL),
    ] {
        contenders.push(
            Contender::new(
                format!("VM with `--network-policy egress`: {what}"),
                Guest {
                    egress: Rc::clone(egress),
                    wish,
                },
            )
            .league(league),
        );
        let label = format!("container on Docker's bridge: {what}");
        contenders.push(match &containers {
            Ok((client, server)) => Contender::new(
                label,
                Container {
                    client: client.clone(),
                    server: server.clone(),
                    wish,
                },
            )
            .league(league)
            .yardstick(),
            Err(why) => Contender::missing(label, why),
        });
    }
    Ok(contenders)
}

fn client(host: &str, port: u16, (size, repeat): (u64, u32)) -> Vec<String> {
    let words = ["python3", "-c", CLIENT, host].map(str::to_owned);
    let numbers = [u64::from(port), size, repeat.into()].map(|number| number.to_string());
    words.into_iter().chain(numbers).collect()
}

fn told(output: &str) -> Result<Duration> {
    let seconds: f64 = output.trim().parse().context("no time from the client")?;
    ensure!(seconds > 0.0, "no time at all");
    Ok(Duration::from_secs_f64(seconds))
}

struct Guest {
    egress: Rc<Lazy<Egress>>,
    wish: (u64, u32),
}

impl Work for Guest {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let egress = self.egress.get().await?;
            let words = client(&GATEWAY_V4.to_string(), egress.port, self.wish);
            let words = words.into_iter().map(String::into_bytes).collect();
            let ran = egress.workspace.exec(CommandLine::Program(words)).await?;
            told(&ran.stdout)
        })
    }
}

struct Container {
    client: String,
    server: String,
    wish: (u64, u32),
}

impl Work for Container {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let words = client(&self.server, PORT, self.wish);
            let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
            words.splice(0..0, ["exec", &self.client]);
            told(&process::text("docker", &words).await?)
        })
    }
}
