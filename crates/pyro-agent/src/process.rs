//! The agent as an ordinary process of the host, without isolation.
//!
//! Its channel is descriptor 3, a connected Unix socket. When that ends, or the agent is told to
//! end, everything that it started ends first. It adopts what its commands orphan, so that
//! nothing gets away from that.

use std::fs;
use std::io;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::Agent;
use crate::backend::Backend;
use crate::channel::Channel;
use crate::clock::Trace;
use crate::reaper::Reaper;
use crate::{console, descendants, inherited, sockets};

const CHANNEL: i32 = 3;

/// How long work on files may take to end. What it leaves is put right at the next start.
const FILES_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error("cannot use the folder {}: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("descriptor {CHANNEL} is not a connected socket: {source}")]
    Channel { source: io::Error },
    #[error("cannot prepare the process: {source}")]
    System {
        #[from]
        source: io::Error,
    },
}

/// Serves one folder until the channel ends.
pub(crate) fn run(folder: PathBuf) -> ExitCode {
    match try_run(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::report(error);
            ExitCode::FAILURE
        }
    }
}

fn try_run(folder: &Path) -> Result<(), ProcessError> {
    let folder = usable(folder).map_err(|source| ProcessError::Folder {
        folder: folder.to_owned(),
        source,
    })?;
    let channel =
        inherited::take_channel(CHANNEL).map_err(|source| ProcessError::Channel { source })?;
    inherited::reset(&channel)?;
    Errno::result(
        // SAFETY: plain system call.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) },
    )
    .map_err(io::Error::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve_until_end(folder, channel));
    // Work on files hears of the end and gives up, or comes to its own.
    runtime.shutdown_timeout(FILES_LIMIT);
    descendants::kill_below(std::process::id().cast_signed());
    Ok(served?)
}

fn usable(folder: &Path) -> io::Result<PathBuf> {
    let folder = fs::canonicalize(folder)?;
    if fs::metadata(&folder)?.is_dir() {
        Ok(folder)
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

async fn serve_until_end(folder: PathBuf, channel: net::UnixStream) -> io::Result<()> {
    let reaper = Reaper::start()?;
    let mut asked_to_end = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let agent = Arc::new(Agent::new(
        Backend::Process { folder },
        reaper,
        Trace::default(),
    ));
    if let Err(error) = agent.files.recover() {
        console::report(error);
    }
    let channel = Channel::new(UnixStream::from_std(channel)?);
    tokio::select! {
        ended = sockets::serve_hosts(&agent, channel) => ended,
        _ = asked_to_end.recv() => Ok(()),
        _ = interrupted.recv() => Ok(()),
        _ = hung_up.recv() => Ok(()),
    }
}
