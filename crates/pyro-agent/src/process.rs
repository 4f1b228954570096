//! The agent as an ordinary process of the host, without isolation.
//!
//! Its channel is descriptor 3, a connected Unix socket. When that ends, or the agent is told to
//! end, everything that it started ends first. It adopts what its commands orphan, so that
//! nothing gets away from that.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use nix::errno::Errno;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::Agent;
use crate::backend::Backend;
use crate::channel::Channel;
use crate::clock::Trace;
use crate::reaper::Reaper;
use crate::socket_start::{self, StartError};
use crate::{console, descendants, inherited, sockets};

const CHANNEL: RawFd = 3;

/// Serves one folder until the channel ends.
pub(crate) fn run(folder: PathBuf) -> ExitCode {
    socket_start::exit_code(try_run(&folder))
}

fn try_run(folder: &Path) -> Result<(), StartError> {
    let folder = usable(folder).map_err(|source| StartError::Folder {
        folder: folder.to_owned(),
        source,
    })?;
    let channel = socket_start::take_channel(CHANNEL)?;
    inherited::reset(&channel)?;
    Errno::result(
        // SAFETY: plain system call.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) },
    )
    .map_err(io::Error::from)?;
    let served = socket_start::serve(serve_until_end(folder, channel));
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
