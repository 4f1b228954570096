//! The agent as a program of the host whose root is the disk of a sandbox, and which serves its files.
//!
//! Its channel is descriptor 0, a connected Unix socket, and its root was changed before it was
//! executed. It executes nothing and starts no process, and so needs none of what is mounted in a guest:
//! `/proc` and `/dev` are folders of the disk here, whose owner may have put anything there, and are
//! never looked into.
//!
//! It may be alone with the disk, or beside a sandbox that uses it.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::net;
use std::process::ExitCode;
use std::sync::Arc;

use nix::sys::stat::{Mode, umask};

use crate::agent::Agent;
use crate::backend::Backend;
use crate::channel::Channel;
use crate::clock::Trace;
use crate::reaper::Reaper;
use crate::socket_start::{self, StartError};
use crate::{inherited, lines, memory, sockets, system_calls};

const CHANNEL: RawFd = 0;

/// What is made here and nobody says how is made as in a guest.
pub(crate) const MASK: Mode = Mode::from_bits_truncate(0o022);

/// How much memory is kept that nobody uses: chunks of archives come and go by the thousand.
const KEPT: i32 = 16 * 1024 * 1024;

/// Serves until the channel ends.
pub(crate) fn run() -> ExitCode {
    socket_start::exit_code(try_run())
}

fn try_run() -> Result<(), StartError> {
    let channel = socket_start::take_channel(CHANNEL)?;
    inherited::reset(&channel)?;
    umask(MASK);
    memory::keep(KEPT);
    Ok(socket_start::serve(serve_until_end(channel))?)
}

async fn serve_until_end(channel: net::UnixStream) -> io::Result<()> {
    // What waits for it is made by now, and no other thread yet.
    system_calls::keep_to_files()?;
    let agent = Arc::new(Agent::new(Backend::Files, Reaper::idle(), Trace::default()));
    let channel = Channel::new(lines::channel(channel, agent.lines.clone())?);
    let served = sockets::serve_hosts(&agent, channel).await;
    agent.files.thaw().await;
    served
}
