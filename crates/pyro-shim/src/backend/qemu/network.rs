//! The guest's network cable, and the process at its other end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use nix::sys::signal::Signal;
use pyro_wire::network::Network;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::command_line::Ram;
use crate::backend::child::{Pass, describe, spawn};

/// This program, even when an update has put another one in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";

pub(super) struct Cable {
    /// For QEMU.
    pub(super) end: UnixStream,
    pub(super) outside: Outside,
}

pub(super) enum Outside {
    /// A process, which ends with its end of the cable at the latest.
    Served { watch: JoinHandle<()> },
    /// Nobody: the guest is about to be frozen, and sends into the void.
    Nobody { _end: OwnedFd },
}

/// A cable with a network at its other end, which this starts.
pub(super) fn plug(network: &Network, ram: Ram<'_>) -> io::Result<Cable> {
    let (end, theirs) = UnixStream::pair()?;
    // QEMU waits for none of its sockets.
    end.set_nonblocking(true)?;
    let outside = match ram {
        Ram::Saved(_) => Outside::Nobody {
            _end: theirs.into(),
        },
        Ram::Own | Ram::Resumed(_) => serve(network, theirs)?,
    };
    Ok(Cable { end, outside })
}

fn serve(network: &Network, cable: UnixStream) -> io::Result<Outside> {
    let spare = cable.try_clone()?;
    let mut command = Command::new(THIS_PROGRAM);
    command
        .args(["shim", "--network"])
        .arg(serde_json::to_string(network)?)
        .stdin(Stdio::from(OwnedFd::from(cable)))
        .stdout(Stdio::null());
    let mut child = spawn(command, &Pass::AsTheyAre(&[]), Signal::SIGKILL)?;
    let watch = tokio::spawn(async move {
        // When it ends before its VM, the VM lives on without a network.
        if let Ok(status) = child.wait().await
            && !status.success()
        {
            eprintln!("the guest's network {}", describe(status));
            let _ = swallow(spare).await;
        }
    });
    Ok(Outside::Served { watch })
}

/// Throws away what the guest sends. QEMU 7.2 was seen to crash when the other end of the cable was
/// closed under a sending guest, so it stays open.
async fn swallow(end: UnixStream) -> io::Result<()> {
    end.set_nonblocking(true)?;
    let mut end = tokio::net::UnixStream::from_std(end)?;
    tokio::io::copy(&mut end, &mut tokio::io::sink()).await?;
    Ok(())
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Self::Served { watch } = self {
            // The child is in there, and is killed with it.
            watch.abort();
        }
    }
}
