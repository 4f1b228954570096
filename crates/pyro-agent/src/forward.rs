//! A connection of the host to a port of the guest's loopback.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, FrameError};
use pyro_wire::service::{Connect, ConnectReply};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::peer::{self, Peer, Reader, Writer};

/// The loopback answers at once, unless a server's queue is full.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Carries bytes both ways until both have ended, or either side is gone. `Some`: it never came to
/// that, and the asking side has been told.
pub(crate) async fn serve<P: Peer>(
    agent: &Agent,
    request: &Connect,
    mut from: Reader<P>,
    mut to: Writer<P>,
) -> Option<(Reader<P>, Writer<P>)> {
    let opened = {
        let opening = open(agent, request.port, &mut to);
        tokio::select! {
            opened = opening => opened.ok()?,
            // It has nothing to say before it is connected.
            _ = from.read_u8() => return None,
        }
    };
    match opened {
        Ok(server) => {
            let reply = ConnectReply::Connected;
            frame::write_message(&mut to, &reply).await.ok()?;
            peer::unsplit(from, to)?.relay(server).await;
            None
        }
        Err(fault) => {
            let reply = ConnectReply::Failed(fault);
            frame::write_message(&mut to, &reply).await.ok()?;
            Some((from, to))
        }
    }
}

/// Connects, and says so when that takes a while. An error means that the asking side is gone.
async fn open<P: Peer>(
    agent: &Agent,
    port: u16,
    to: &mut Writer<P>,
) -> Result<Result<TcpStream, Fault>, FrameError> {
    if let Err(fault) = agent.lifecycle.ready_for("connections") {
        return Ok(Err(fault));
    }
    let connecting = connect(port);
    tokio::pin!(connecting);
    let connected = tokio::select! {
        connected = &mut connecting => connected,
        () = sleep(AT_ONCE) => {
            frame::write_message(to, &ConnectReply::Trying).await?;
            connecting.await
        }
    };
    Ok(connected.map_err(|error| {
        let words = format!("cannot connect to port {port} of the guest: {error}");
        Fault::new(FaultCode::NotFound, words)
    }))
}

/// As patient as the kernel, which tries for about two minutes.
async fn connect(port: u16) -> io::Result<TcpStream> {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        // Somebody is there.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(error),
        Err(_) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await,
        connected => connected,
    }
}
