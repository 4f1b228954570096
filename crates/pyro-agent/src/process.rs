//! The agent as an ordinary process of the host, without isolation.
//!
//! Its channel is descriptor 3, a connected Unix socket. When that ends, or the agent is told to
//! end, everything that it started ends first. It adopts what its commands orphan, so that
//! nothing gets away from that.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::SigSet;
use pyro_wire::session::{self, SessionError};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::Agent;
use crate::backend::Backend;
use crate::channel::Channel;
use crate::clock::Trace;
use crate::reaper::Reaper;
use crate::{console, descendants, serve};

const CHANNEL: i32 = 3;

/// How long work on files may take to end. What it leaves is put right at the next start.
const FILES_LIMIT: Duration = Duration::from_secs(10);

/// The highest real-time signal.
const LAST_SIGNAL: i32 = 64;

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
    let channel = take_channel().map_err(|source| ProcessError::Channel { source })?;
    reset_inherited_state()?;
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

fn take_channel() -> io::Result<net::UnixStream> {
    // SAFETY: `fcntl` only asks whether the descriptor is open.
    Errno::result(unsafe { libc::fcntl(CHANNEL, libc::F_GETFD) })?;
    // SAFETY: it is open, and nothing else in this program uses it.
    let socket = net::UnixStream::from(unsafe { OwnedFd::from_raw_fd(CHANNEL) });
    socket.peer_addr()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Commands inherit no descriptors, and no signals that whoever started us ignores or blocks.
fn reset_inherited_state() -> io::Result<()> {
    // SAFETY: this only marks descriptors; it closes none.
    let marked = unsafe {
        libc::close_range(
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_int,
        )
    };
    // Kernels before 5.11 do not have it. There the channel at least must be marked.
    if Errno::result(marked).is_err() {
        // SAFETY: the descriptor is open for as long as the program runs.
        let channel = unsafe { std::os::fd::BorrowedFd::borrow_raw(CHANNEL) };
        fcntl(channel, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    for number in 1..=LAST_SIGNAL {
        // `std` ignores SIGPIPE for us and resets it for commands.
        if number != libc::SIGPIPE {
            // SAFETY: no handler is installed. The few signals that cannot be set are refused.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
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
        ended = serve_hosts(&agent, channel) => ended,
        _ = asked_to_end.recv() => Ok(()),
        _ = interrupted.recv() => Ok(()),
        _ = hung_up.recv() => Ok(()),
    }
}

async fn serve_hosts(agent: &Arc<Agent>, mut channel: Channel<UnixStream>) -> io::Result<()> {
    loop {
        match session::accept_handshake(&mut channel).await {
            Ok(()) => {
                channel.start_session();
                serve::session(agent, &mut channel).await;
                channel.end_session();
            }
            Err(error @ SessionError::Version { .. }) => console::report(error),
            Err(SessionError::Io { source }) if source.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(source);
            }
            Err(_) => return Ok(()),
        }
    }
}
