//! PID 1 of a gVisor sandbox: from its first instruction to its last.
//!
//! Its channel is descriptor 0, a connected Unix socket that the sandbox was started with. What a
//! boot does for a guest, whoever wrote the sandbox's configuration has done here: what commands
//! expect is mounted, and the loopback is up. When the channel ends, or the agent is told to end,
//! everything ends and is written to the host's files, and with this process the sandbox ends.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::net;
use std::process::ExitCode;
use std::sync::Arc;

use crate::agent::Agent;
use crate::backend::Backend;
use crate::channel::Channel;
use crate::clock::Trace;
use crate::host_socket::HostSocket;
use crate::reaper::Reaper;
use crate::socket_start::{self, StartError};
use crate::{console, inherited, limits, memory, mounts, shutdown, sockets};

const CHANNEL: RawFd = 0;

/// How much memory is kept that nobody uses, as much as a command takes for its time: to get it anew
/// costs gVisor as much as a hundred system calls.
const KEPT: i32 = 1024 * 1024;

/// Serves until the channel ends.
pub(crate) fn run() -> ExitCode {
    socket_start::exit_code(try_run())
}

fn try_run() -> Result<(), StartError> {
    let channel = take_channel()?;
    inherited::reset(&channel)?;
    memory::keep(KEPT);
    mounts::keep_temporary_files();
    if let Err(error) = limits::raise() {
        console::report(format_args!(
            "cannot raise the limit of open files: {error}"
        ));
    }
    let served = socket_start::serve(serve_until_end(channel));
    nix::unistd::sync();
    Ok(served?)
}

/// Takes the channel to another number: a program that forgets its standard input must not find
/// the channel there, and neither must we.
fn take_channel() -> Result<net::UnixStream, StartError> {
    let failed = |source| StartError::Channel {
        number: CHANNEL,
        source,
    };
    let channel = socket_start::take_channel(CHANNEL)?;
    // With the mark that commands do not inherit it, and above the standard three.
    let moved = channel.try_clone().map_err(failed)?;
    let nothing = std::fs::File::open("/dev/null").map_err(failed)?;
    nix::unistd::dup2_stdin(&nothing).map_err(|errno| failed(errno.into()))?;
    // It is not the channel any more, and stays open for as long as the program runs.
    std::mem::forget(channel);
    Ok(moved)
}

async fn serve_until_end(channel: net::UnixStream) -> io::Result<()> {
    let reaper = Reaper::start()?;
    let agent = Arc::new(Agent::new(Backend::Sandbox, reaper, Trace::default()));
    let groups = &agent.launcher.groups;
    if let Err(error) = mounts::process_groups()
        .map_err(io::Error::other)
        .and_then(|()| groups.enable_pids())
    {
        // Commands are then ended by what is known of their parents.
        console::report(format_args!("cannot use control groups: {error}"));
    }
    let channel = Channel::new(HostSocket::new(channel)?);
    let served = sockets::serve_hosts(&agent, channel).await;
    agent.files.thaw().await;
    shutdown::end_processes().await;
    served
}
