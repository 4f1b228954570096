//! Connections to a VM's shim.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::socket::{UnixAddr, getpeername};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, FrameError};
use pyro_wire::jobs::{JobControl, JobStart, JobState, JobWait};
use pyro_wire::launch::DiskLayer;
use pyro_wire::shim::{
    CONTROL_SOCKET, Lease, Publish, Published, ShimReply, ShimRequest, Status, Stop,
};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::folder::VmFolder;

/// How long a shim may take to answer anything but a stop.
const ANSWER: Duration = Duration::from_secs(10);

/// Who serves files beside a guest may have to be started.
const FILES: Duration = Duration::from_secs(30);

/// How long the guest may take to start a command, and to end one.
const JOB_START: Duration = Duration::from_secs(40);
const JOB_STOP: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ShimError {
    #[error("the supervisor of the guest does not answer")]
    Connect {
        #[source]
        source: io::Error,
    },
    #[error("the connection to the supervisor of the guest was lost")]
    Broken {
        #[source]
        source: FrameError,
    },
    #[error("the supervisor of the guest did not answer in time")]
    Silent,
    #[error(transparent)]
    Failed { fault: Fault },
    #[error("the supervisor of the guest sent an unexpected reply")]
    UnexpectedReply,
}

/// Opens a stream to the guest's agent.
pub(crate) async fn agent(folder: &VmFolder) -> Result<UnixStream, ShimError> {
    line(folder, &ShimRequest::Agent, ANSWER).await
}

/// Opens a stream to who serves requests about files, and no others.
pub(crate) async fn files(folder: &VmFolder) -> Result<UnixStream, ShimError> {
    match line(folder, &ShimRequest::Files, FILES).await {
        // A shim from before an update has a guest whose agent serves them.
        Err(ShimError::Failed { fault }) if fault.code == FaultCode::Protocol => {
            agent(folder).await
        }
        line => line,
    }
}

async fn line(
    folder: &VmFolder,
    request: &ShimRequest,
    patience: Duration,
) -> Result<UnixStream, ShimError> {
    let (stream, reply) = ask(folder, request, patience).await?;
    match reply {
        ShimReply::Bridged => Ok(stream),
        _ => Err(ShimError::UnexpectedReply),
    }
}

/// What the shim knows of its VM.
pub(crate) async fn status(folder: &VmFolder) -> Result<Status, ShimError> {
    match ask(folder, &ShimRequest::Status, ANSWER).await?.1 {
        ShimReply::Status(status) => Ok(*status),
        _ => Err(ShimError::UnexpectedReply),
    }
}

/// Starts the VM's idle time anew.
pub(crate) async fn touch(folder: &VmFolder) -> Result<(), ShimError> {
    match ask(folder, &ShimRequest::Touch, ANSWER).await?.1 {
        ShimReply::Done => Ok(()),
        _ => Err(ShimError::UnexpectedReply),
    }
}

/// Puts an empty layer on top of the running VM's disk.
pub(crate) async fn add_layer(folder: &VmFolder, layer: DiskLayer) -> Result<(), ShimError> {
    match ask(folder, &ShimRequest::AddLayer(layer), ANSWER).await?.1 {
        ShimReply::Done => Ok(()),
        _ => Err(ShimError::UnexpectedReply),
    }
}

/// Begins to take a layer out of the running VM's disk.
pub(crate) async fn merge_layer(folder: &VmFolder, layer: PathBuf) -> Result<(), ShimError> {
    done(folder, &ShimRequest::MergeLayer(layer)).await
}

/// Ends the VM and waits until it is gone.
pub(crate) async fn stop(folder: &VmFolder, stop: Stop) -> Result<(), ShimError> {
    let patience = ANSWER + Duration::from_millis(stop.grace_ms);
    match ask(folder, &ShimRequest::Stop(stop), patience).await?.1 {
        ShimReply::Stopped => Ok(()),
        _ => Err(ShimError::UnexpectedReply),
    }
}

/// Lets a VM stand still.
pub(crate) async fn pause(folder: &VmFolder) -> Result<(), ShimError> {
    done(folder, &ShimRequest::Pause).await
}

/// Lets a VM that stood still go on, until that time, in milliseconds since 1970.
pub(crate) async fn hand_out(folder: &VmFolder, expires_at_ms: u64) -> Result<(), ShimError> {
    done(folder, &ShimRequest::Lease(Lease { expires_at_ms })).await
}

/// Binds ports of this host for a service that is about to be started.
pub(crate) async fn publish(
    folder: &VmFolder,
    request: Publish,
) -> Result<Vec<Published>, ShimError> {
    let wanted = request.ports.len();
    match ask(folder, &ShimRequest::Publish(request), ANSWER).await?.1 {
        ShimReply::Published(published) if published.len() == wanted => Ok(published),
        _ => Err(ShimError::UnexpectedReply),
    }
}

/// Gives up the ports of a service.
pub(crate) async fn unpublish(folder: &VmFolder, instance: u64) -> Result<(), ShimError> {
    done(folder, &ShimRequest::Unpublish { instance }).await
}

/// Has the shim start a command of its own, for as long as the connection is there or until it is
/// let go.
pub(crate) async fn job_start(
    folder: &VmFolder,
    request: JobStart,
) -> Result<UnixStream, ShimError> {
    let request = ShimRequest::JobStart(request);
    match ask(folder, &request, JOB_START).await? {
        (stream, ShimReply::Done) => Ok(stream),
        _ => Err(ShimError::UnexpectedReply),
    }
}

/// Lets the shim have a command for good.
pub(crate) async fn job_detach(mut held: UnixStream) -> Result<(), ShimError> {
    let broken = |source| ShimError::Broken { source };
    let exchange = async {
        frame::write_message(&mut held, &JobControl::Detach).await?;
        frame::read_message(&mut held).await
    };
    match timeout(ANSWER, exchange).await {
        Ok(Ok(ShimReply::Done)) => Ok(()),
        Ok(Ok(_)) => Err(ShimError::UnexpectedReply),
        Ok(Err(source)) => Err(broken(source)),
        Err(_) => Err(ShimError::Silent),
    }
}

/// Waits for news of a command that is the shim's.
pub(crate) async fn job_wait(folder: &VmFolder, request: JobWait) -> Result<JobState, ShimError> {
    let patience = Duration::from_millis(request.timeout_ms).saturating_add(ANSWER);
    match ask(folder, &ShimRequest::JobWait(request), patience)
        .await?
        .1
    {
        ShimReply::Job(state) => Ok(*state),
        _ => Err(ShimError::UnexpectedReply),
    }
}

/// Ends a command that is the shim's, and waits for that.
pub(crate) async fn job_stop(folder: &VmFolder, job: u64) -> Result<JobState, ShimError> {
    match ask(folder, &ShimRequest::JobStop { job }, JOB_STOP)
        .await?
        .1
    {
        ShimReply::Job(state) => Ok(*state),
        _ => Err(ShimError::UnexpectedReply),
    }
}

async fn done(folder: &VmFolder, request: &ShimRequest) -> Result<(), ShimError> {
    match ask(folder, request, ANSWER).await?.1 {
        ShimReply::Done => Ok(()),
        _ => Err(ShimError::UnexpectedReply),
    }
}

async fn ask(
    folder: &VmFolder,
    request: &ShimRequest,
    patience: Duration,
) -> Result<(UnixStream, ShimReply), ShimError> {
    let broken = |source| ShimError::Broken { source };
    let exchange = async {
        let mut stream = connect(folder)
            .await
            .map_err(|source| ShimError::Connect { source })?;
        frame::write_message(&mut stream, request)
            .await
            .map_err(broken)?;
        match frame::read_message(&mut stream).await.map_err(broken)? {
            ShimReply::Failed(fault) => Err(ShimError::Failed { fault }),
            reply => Ok((stream, reply)),
        }
    };
    timeout(patience, exchange)
        .await
        .map_err(|_| ShimError::Silent)?
}

/// Closes a forked child's copies of all connections: while one is open, the shim believes that
/// somebody waits for the command at its other end.
pub(crate) fn release_after_fork() {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<RawFd> = descriptors
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open {
        let leads_to_a_shim = getpeername::<UnixAddr>(descriptor).is_ok_and(|peer| {
            peer.path()
                .is_some_and(|path| path.ends_with(CONTROL_SOCKET))
        });
        if leads_to_a_shim {
            let _ = nix::unistd::close(descriptor);
        }
    }
}

/// Connects through the folder's descriptor, because the address of a socket holds 108 bytes and
/// a state folder may be deeper than that.
async fn connect(folder: &VmFolder) -> io::Result<UnixStream> {
    let opened = File::open(folder.path())?;
    UnixStream::connect(format!(
        "/proc/self/fd/{}/{CONTROL_SOCKET}",
        opened.as_raw_fd()
    ))
    .await
}
