//! The process at the other end of a guest's link: `pyro shim --network`.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use nix::sys::signal::Signal;
use pyro_wire::network::Network;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::child::{Inherit, describe, spawn};

/// This program, even when an update has put another one in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Ends the process when it is dropped.
pub(crate) struct Router(JoinHandle<()>);

/// Starts the router of a guest on its end of the link. When it fails before its VM, the VM lives on
/// without a network, and `after` decides what becomes of the link: a copy of it is in there.
pub(crate) fn start(
    network: &Network,
    link: OwnedFd,
    after: impl Future<Output = ()> + Send + 'static,
) -> io::Result<Router> {
    let mut command = Command::new(THIS_PROGRAM);
    command
        .args(["shim", "--network"])
        .arg(serde_json::to_string(network)?)
        .stdin(Stdio::from(link))
        .stdout(Stdio::null());
    let mut child = spawn(command, &Inherit::SameNumbers(&[]), Signal::SIGKILL)?;
    let task = tokio::spawn(async move {
        if let Ok(status) = child.wait().await
            && !status.success()
        {
            eprintln!("the guest's network {}", describe(status));
            after.await;
        }
    });
    Ok(Router(task))
}

impl Drop for Router {
    fn drop(&mut self) {
        // The child is in there, and is killed with it.
        self.0.abort();
    }
}
