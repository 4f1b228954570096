//! The guest's network device, and the process at its other end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use nix::sys::signal::Signal;
use pyro_wire::network::Network;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::command_line::Ram;
use crate::backend::child::{Inherit, describe, spawn};

/// This program, even when an update has put another one in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";

pub(super) struct Netdev {
    /// For QEMU.
    pub(super) socket: UnixStream,
    pub(super) peer: Peer,
}

pub(super) enum Peer {
    /// A process, which ends at the latest when QEMU closes its socket.
    Process { task: JoinHandle<()> },
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
    let peer_copy = netdev.try_clone()?;
    let mut command = Command::new(THIS_PROGRAM);
    command
        .args(["shim", "--network"])
        .arg(serde_json::to_string(network)?)
        .stdin(Stdio::from(OwnedFd::from(netdev)))
        .stdout(Stdio::null());
    let mut child = spawn(command, &Inherit::SameNumbers(&[]), Signal::SIGKILL)?;
    let task = tokio::spawn(async move {
        // When it ends before its VM, the VM lives on without a network.
        if let Ok(status) = child.wait().await
            && !status.success()
        {
            eprintln!("the guest's network {}", describe(status));
            let _ = discard(peer_copy).await;
        }
    });
    Ok(Peer::Process { task })
}

/// Throws away what the guest sends. QEMU 7.2 was seen to crash when the other end of the socket
/// was closed under a sending guest, so it stays open.
async fn discard(socket: UnixStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut socket = tokio::net::UnixStream::from_std(socket)?;
    tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
    Ok(())
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Self::Process { task } = self {
            // The child is in there, and is killed with it.
            task.abort();
        }
    }
}
