//! The guest's way out: its Ethernet frames become sockets of the host, where the policy lets them.
//!
//! ```text
//! guest ── virtio-net ── QEMU ── socket pair ──▶ link ──▶ router ─┬─▶ tcp  ── connect() ──▶ outside
//!                                                                  ├─▶ udp  ── connect() ──▶
//!                                                                  ├─▶ ping ── ping socket ─▶
//!                                                                  ├─▶ dns  ── the host's name servers
//!                                                                  └─▶ neighbours (ARP, NDP)
//! ```
//!
//! In a gVisor sandbox a tap interface is in the place of the NIC, of QEMU and of the socket pair.
//!
//! This is a process of its own (`pyro shim --network`), a child of the shim. All that a hostile
//! guest sends is read here and nowhere else: when this process dies, a VM loses its network, and
//! nothing more. It needs no right of the host beyond opening sockets.
//!
//! Whatever leaves goes through [`policy`] first, each time a flow begins, with the addresses that
//! the host has at that moment. Nothing comes in by itself: a guest listens to nobody outside.
//!
//! Not here: published ports, which go through the agent and need no network.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use pyro_wire::network::Network;

mod dns;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzzing;
mod icmp;
mod limits;
mod link;
mod neighbours;
mod packet;
mod ping;
mod policy;
mod router;
mod tcp;
mod udp;

/// Serves the guest at the other end of standard input until that end is closed; this is
/// `pyro shim --network PLAN NETWORK`, with a [`Network`] as JSON, once it is in its jail.
pub fn run(network: &str) -> ExitCode {
    match serve(network) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the guest's network: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(network: &str) -> io::Result<()> {
    let network: Network = serde_json::from_str(network)?;
    let link = take_link()?;
    let limits = limits::set()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let policy = policy::Policy::new(&network)?;
        router::run(link, policy, limits).await
    })
}

fn take_link() -> io::Result<OwnedFd> {
    use std::os::fd::AsFd;
    let link: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let flags = fcntl(&link, FcntlArg::F_GETFL)?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(&link, FcntlArg::F_SETFL(flags))?;
    Ok(link)
}
