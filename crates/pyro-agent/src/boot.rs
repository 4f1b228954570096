//! From the first instruction of PID 1 to a channel that waits for hosts.
//!
//! All of it is on the way to the first command, so it does nothing that could be done later.
//! It leaves the root disk alone: a guest may be frozen here and resumed, many times, on disks
//! that do not exist yet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pyro_wire::agent::WAITING;
use pyro_wire::session;

use crate::agent::Agent;
use crate::backend::Backend;
use crate::channel::Channel;
use crate::clock::Trace;
use crate::mounts::MountError;
use crate::port::Port;
use crate::reaper::Reaper;
use crate::{console, limits, memory_shortage, modules, mounts, network, serve};

/// How long the port may take to appear after the modules are loaded.
const PORT_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum BootError {
    #[error("cannot {step}: {source}")]
    Step {
        step: &'static str,
        source: io::Error,
    },
    #[error(transparent)]
    Mount(#[from] MountError),
}

/// Runs the guest until it is powered off.
pub(crate) fn run() -> ! {
    let mut trace = Trace::default();
    trace.step("kernel");
    if let Err(error) = mounts::basic() {
        console::fatal(error);
    }
    trace.read_command_line();
    trace.step("proc, sys, dev");
    modules::load_all(network::has_nic());
    trace.step("modules");
    protect_from_memory_shortage();
    memory_shortage::watch();

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve_hosts(trace)),
        Err(error) => console::fatal(format_args!("cannot start the runtime: {error}")),
    }
}

async fn serve_hosts(mut trace: Trace) -> ! {
    trace.step("runtime");
    let port = match Port::open(PORT_DEADLINE).await {
        Ok(port) => port,
        Err(error) => console::fatal(error),
    };
    trace.step("port");
    let reaper = match Reaper::start() {
        Ok(reaper) => reaper,
        Err(error) => console::fatal(format_args!("cannot watch for ended processes: {error}")),
    };
    let agent = Arc::new(Agent::new(Backend::Vm, reaper, trace));

    // The host may greet meanwhile; and what is done here, a frozen guest need not do again.
    if let Err(error) = set_up_early(&agent) {
        console::fatal(error);
    }
    agent.trace().step("pts, shm, cgroup, lo, limits");
    // Without its network a guest is still of use, and its owner sees this on the console.
    if let Err(error) = network::set_up_nic().await {
        console::report(format_args!("cannot set the network card up: {error}"));
    }
    agent.trace().step("nic");

    let mut channel = Channel::new(port);
    let mut told = true;
    loop {
        match session::accept_handshake(&mut channel).await {
            Ok(()) => {
                agent.trace().step("greeting");
                channel.start_session();
                serve::session(&agent, &mut channel).await;
                channel.end_session();
                told = false;
            }
            Err(session::SessionError::Io { source })
                if source.kind() == io::ErrorKind::UnexpectedEof =>
            {
                channel.end_session();
                if !told {
                    // Whoever wants to freeze the guest waits for these words.
                    console::print_line(WAITING);
                    told = true;
                }
                wait_for_change(&mut channel).await;
            }
            Err(error @ session::SessionError::Version { .. }) => console::report(error),
            Err(error) => console::fatal(format_args!("cannot use the channel: {error:?}")),
        }
    }
}

/// Without a host, reading ends at once instead of waiting: sleep until the port changes.
async fn wait_for_change(channel: &mut Channel<Port>) {
    if let Err(error) = channel.inner_mut().changed().await {
        console::fatal(format_args!("cannot wait for a host: {error}"));
    }
}

/// Sets up what commands need and what needs no disk.
fn set_up_early(agent: &Agent) -> Result<(), BootError> {
    mounts::inside_basic()?;
    let step = |step| move |source: io::Error| BootError::Step { step, source };
    agent
        .launcher
        .groups
        .enable()
        .map_err(step("create the control group"))?;
    network::bring_up_loopback().map_err(step("raise lo"))?;
    limits::raise().map_err(step("raise the limit of open files"))
}

/// The agent must be the last thing that the kernel kills when memory runs out.
fn protect_from_memory_shortage() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-1000") {
        console::report(format_args!("cannot set oom_score_adj: {error}"));
    }
}
