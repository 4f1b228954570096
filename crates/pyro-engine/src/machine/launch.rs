//! Starts a shim and waits until its VM answers.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use pyro_api::{Caller, Event};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame;
use pyro_wire::launch::{Ended, LAUNCH_FILE, LaunchEvent, LaunchSpec, Running};
use pyro_wire::{reached, step};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::folder::VmFolder;

/// Beyond the boots themselves: the KVM probe, and a host that is busy with other VMs.
const SLACK: Duration = Duration::from_secs(60);

/// How long to wait for a shim's last words after its VM went away.
const END_EVENT_TIMEOUT: Duration = Duration::from_secs(3);

const SHIM_LOG: &str = "shim.log";

#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("the launch file could not be written")]
    LaunchFile {
        #[source]
        source: io::Error,
    },
    #[error("{} could not be started", program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Failed { fault: Fault },
    #[error("the supervisor of the guest exited without an answer: {log}")]
    ShimGone { log: String },
    #[error("the guest did not answer within {} s", waited.as_secs())]
    NoAnswer { waited: Duration },
    #[error("the supervisor of the guest sent a reply that could not be parsed")]
    Garbled {
        #[source]
        source: frame::FrameError,
    },
    #[error("the call was cancelled")]
    CallerGone,
}

/// A VM whose shim this process started. Dropping it ends the VM, because the shim then finds its
/// owner gone.
pub(crate) struct Launched {
    pub(crate) running: Running,
    // The runtime reaps the shim when it ends.
    _shim: Child,
    owner: ChildStdin,
    events: ChildStdout,
}

impl Launched {
    /// Gives up a forked child's copy of the pipe whose end tells the shim that its owner is gone.
    pub(crate) fn release_after_fork(&self) {
        let _ = nix::unistd::close(self.owner.as_raw_fd());
    }

    /// Tells the shim that from here on its VM needs no owner, where it was started so.
    pub(crate) async fn release(mut self) {
        // One that is gone has no VM any more, which whoever uses it next finds out.
        let _ = self.owner.write_all(b"go on\n").await;
    }

    /// Why the VM is over, once it is.
    pub(crate) async fn end(&mut self) -> Option<Ended> {
        let end_event = async {
            loop {
                match frame::read(&mut self.events).await.ok()??.message().ok()? {
                    LaunchEvent::Ended(ended) => return Some(ended),
                    LaunchEvent::Note(_)
                    | LaunchEvent::Step(_)
                    | LaunchEvent::Ready(_)
                    | LaunchEvent::Failed(_) => {}
                }
            }
        };
        timeout(END_EVENT_TIMEOUT, end_event).await.ok()?
    }
}

/// Starts `pyro shim` on a prepared folder.
pub(crate) async fn launch(
    pyro: &Path,
    folder: &VmFolder,
    spec: &LaunchSpec,
    caller: &Caller,
) -> Result<Launched, LaunchError> {
    write_private(&folder.join(LAUNCH_FILE), spec)
        .map_err(|source| LaunchError::LaunchFile { source })?;
    let log = private_file(&folder.join(SHIM_LOG))
        .map_err(|source| LaunchError::LaunchFile { source })?;
    let start_failed = |source| LaunchError::Start {
        program: pyro.to_owned(),
        source,
    };
    let mut shim = Command::new(pyro)
        .arg("shim")
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(start_failed)?;
    reached!("shim started");
    let (Some(owner), Some(mut events)) = (shim.stdin.take(), shim.stdout.take()) else {
        return Err(start_failed(io::Error::other("no pipes to the supervisor")));
    };

    let waited = Duration::from_millis(spec.boot_deadline_ms.saturating_mul(2)) + SLACK;
    let running = timeout(waited, ready(&mut events, folder, caller))
        .await
        .map_err(|_| LaunchError::NoAnswer { waited })??;
    Ok(Launched {
        running,
        _shim: shim,
        owner,
        events,
    })
}

async fn ready(
    events: &mut ChildStdout,
    folder: &VmFolder,
    caller: &Caller,
) -> Result<Running, LaunchError> {
    loop {
        let frame = frame::read(events)
            .await
            .map_err(|source| LaunchError::Garbled { source })?
            .ok_or_else(|| LaunchError::ShimGone {
                log: end_of_log(folder),
            })?;
        match frame
            .message()
            .map_err(|source| LaunchError::Garbled { source })?
        {
            LaunchEvent::Ready(running) => return Ok(running),
            LaunchEvent::Step(step) => step::forward(&step),
            LaunchEvent::Note(note) => caller
                .emit(Event::Note(note))
                .map_err(|_| LaunchError::CallerGone)?,
            LaunchEvent::Failed(fault) => return Err(LaunchError::Failed { fault }),
            LaunchEvent::Ended(ended) => {
                return Err(LaunchError::Failed {
                    fault: Fault::new(FaultCode::BootFailed, ended.message)
                        .with_detail(ended.console_tail),
                });
            }
        }
    }
}

/// Writes a launch file that only this user reads.
pub(crate) fn write_private(path: &Path, spec: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(private_file(path)?, spec).map_err(io::Error::from)
}

/// What a child prints until it ends. Its standard input stays open for as long as this is polled,
/// and ends with it.
pub(crate) async fn output_with_owner(mut child: Child) -> io::Result<Output> {
    let owner = child.stdin.take();
    let output = child.wait_with_output().await;
    drop(owner);
    output
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn end_of_log(folder: &VmFolder) -> String {
    const KEPT: u64 = 2048;
    let read = || -> io::Result<String> {
        let mut log = File::open(folder.join(SHIM_LOG))?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(KEPT)))?;
        let mut text = Vec::new();
        log.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    };
    match read() {
        Ok(text) if !text.is_empty() => text,
        _ => "its log is empty, so it was probably killed".to_owned(),
    }
}
