//! The agent as a program of the host whose root is the disk of a sandbox, and which serves its files.
//!
//! Its channel is descriptor 0, a connected Unix socket, and its root was changed before it was
//! executed. It executes nothing and starts no process, and so needs none of what is mounted in a guest:
//! `/proc` and `/dev` are folders of the disk here, whose owner may have put anything there, and are
//! never looked into.
//!
//! It may be alone with the disk, or beside a sandbox that uses it.

use std::io;
use std::os::unix::net;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use tokio::net::UnixStream;

use crate::agent::Agent;
use crate::backend::Backend;
use crate::channel::Channel;
use crate::clock::Trace;
use crate::reaper::Reaper;
use crate::{console, inherited, sockets};

const CHANNEL: i32 = 0;

/// What is made here and nobody says how is made as in a guest.
const MASK: Mode = Mode::from_bits_truncate(0o022);

/// How long work on files may take to end. What it leaves is put right at the next start.
const FILES_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum HostFilesError {
    #[error("descriptor {CHANNEL} is not a connected socket: {source}")]
    Channel { source: io::Error },
    #[error("cannot prepare the process: {source}")]
    System {
        #[from]
        source: io::Error,
    },
}

/// Serves until the channel ends.
pub(crate) fn run() -> ExitCode {
    match try_run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::report(error);
            ExitCode::FAILURE
        }
    }
}

fn try_run() -> Result<(), HostFilesError> {
    let channel =
        inherited::take_channel(CHANNEL).map_err(|source| HostFilesError::Channel { source })?;
    inherited::reset(&channel)?;
    umask(MASK);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve_until_end(channel));
    // Work on files hears of the end and gives up, or comes to its own.
    runtime.shutdown_timeout(FILES_LIMIT);
    Ok(served?)
}

async fn serve_until_end(channel: net::UnixStream) -> io::Result<()> {
    let agent = Arc::new(Agent::new(Backend::Files, Reaper::idle(), Trace::default()));
    let channel = Channel::new(UnixStream::from_std(channel)?);
    let served = sockets::serve_hosts(&agent, channel).await;
    agent.files.thaw().await;
    served
}
