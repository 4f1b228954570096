//! The guest's network device, and what is at its other end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use pyro_wire::jail::JailChoice;
use pyro_wire::network::Network;

use super::command_line::Ram;
use crate::backend::router::{self, Router};

pub(super) struct Netdev {
    /// For QEMU.
    pub(super) socket: UnixStream,
    pub(super) peer: Peer,
}

pub(super) enum Peer {
    /// It ends at the latest when QEMU closes its socket.
    Router { _router: Router },
    /// Nobody: the guest is about to be frozen, and sends into the void.
    Absent { _end: OwnedFd },
}

/// A socket for QEMU with the guest's network at its other end, which this starts.
pub(super) fn connect(network: &Network, ram: Ram<'_>) -> io::Result<Netdev> {
    let (socket, peer_socket) = UnixStream::pair()?;
    // QEMU waits for none of its sockets.
    socket.set_nonblocking(true)?;
    let peer = match ram {
        Ram::Saved(_) => Peer::Absent {
            _end: peer_socket.into(),
        },
        Ram::Own | Ram::Resumed(_) => serve(network, peer_socket)?,
    };
    Ok(Netdev { socket, peer })
}

fn serve(network: &Network, netdev: UnixStream) -> io::Result<Peer> {
    let copy = netdev.try_clone()?;
    // The walls of a guest that is to have all of them are looked at where its VMM is started.
    let router = router::start(network, JailChoice::Auto, netdev.into(), |_| async move {
        let _ = discard(copy).await;
    })?;
    Ok(Peer::Router { _router: router })
}

/// Throws away what the guest sends. QEMU 7.2 was seen to crash when the other end of the socket
/// was closed under a sending guest, so it stays open.
async fn discard(socket: UnixStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut socket = tokio::net::UnixStream::from_std(socket)?;
    tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
    Ok(())
}
