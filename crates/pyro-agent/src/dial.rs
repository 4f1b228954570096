//! A connection of the host to a port of the guest's loopback.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use pyro_wire::agent::AgentReply;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame;
use pyro_wire::service::Connect;
use tokio::io::{copy_bidirectional_with_sizes, join};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::agent::Agent;
use crate::peer::{self, Peer};

const BUFFER: usize = 64 * 1024;

/// The loopback answers at once, unless a server's queue is full.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How often we look whether the asking side is gone for good, which nothing shows while a server
/// neither reads nor writes.
const LOOK: Duration = Duration::from_secs(1);

/// Carries bytes both ways until both have ended, or either side is gone.
pub(crate) async fn serve<P: Peer>(
    agent: &Agent,
    request: &Connect,
    from: peer::Reader<P>,
    mut to: peer::Writer<P>,
) {
    let mut server = match open(agent, request.port).await {
        Ok(server) => server,
        Err(fault) => {
            let _ = frame::write_message(&mut to, &AgentReply::Failed(fault)).await;
            return;
        }
    };
    if frame::write_message(&mut to, &AgentReply::Done)
        .await
        .is_err()
    {
        return;
    }
    let gone = from.watcher();
    let mut client = join(from, to);
    let carried = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER);
    tokio::select! {
        // An error of either side ends both, by dropping them.
        _ = carried => {}
        () = async { while !gone.is_gone() { sleep(LOOK).await } } => {}
    }
}

async fn open(agent: &Agent, port: u16) -> Result<TcpStream, Fault> {
    agent.ready_for("connections")?;
    let connect = async {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            Err(_) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await,
            connected => connected,
        }
    };
    let connected = match timeout(CONNECT_LIMIT, connect).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let server = connected.map_err(|error| {
        let words = format!("nothing answers at port {port} of the guest: {error}");
        Fault::new(FaultCode::NotFound, words)
    })?;
    // Small pieces have waited for company on the other side, if they had to.
    let _ = server.set_nodelay(true);
    Ok(server)
}
