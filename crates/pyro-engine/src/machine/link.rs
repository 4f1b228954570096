//! Connections to a VM's shim.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use pyro_wire::fault::Fault;
use pyro_wire::frame::{self, FrameError};
use pyro_wire::launch::DiskLayer;
use pyro_wire::shim::{
    CONTROL_SOCKET, HandOut, Publish, Published, ShimReply, ShimRequest, Status, Stop,
};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::folder::VmFolder;

/// How long a shim may take to answer anything but a stop.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the supervisor of the VM does not answer")]
    Connect {
        #[source]
        source: io::Error,
    },
    #[error("the connection to the supervisor of the VM broke")]
    Broken {
        #[source]
        source: FrameError,
    },
    #[error("the supervisor of the VM gave no answer in time")]
    Silent,
    #[error(transparent)]
    Failed { fault: Fault },
    #[error("the supervisor of the VM gave an answer to another question")]
    Confused,
}

/// Opens a stream to the guest's agent.
pub(crate) async fn agent(folder: &VmFolder) -> Result<UnixStream, LinkError> {
    let (stream, reply) = ask(folder, &ShimRequest::Agent, ANSWER).await?;
    match reply {
        ShimReply::Bridged => Ok(stream),
        _ => Err(LinkError::Confused),
    }
}

/// What the shim knows of its VM.
pub(crate) async fn status(folder: &VmFolder) -> Result<Status, LinkError> {
    match ask(folder, &ShimRequest::Status, ANSWER).await?.1 {
        ShimReply::Status(status) => Ok(*status),
        _ => Err(LinkError::Confused),
    }
}

/// Starts the VM's idle time anew.
pub(crate) async fn touch(folder: &VmFolder) -> Result<(), LinkError> {
    match ask(folder, &ShimRequest::Touch, ANSWER).await?.1 {
        ShimReply::Done => Ok(()),
        _ => Err(LinkError::Confused),
    }
}

/// Puts an empty layer on top of the running VM's disk.
pub(crate) async fn add_layer(folder: &VmFolder, layer: DiskLayer) -> Result<(), LinkError> {
    match ask(folder, &ShimRequest::AddLayer(layer), ANSWER).await?.1 {
        ShimReply::Done => Ok(()),
        _ => Err(LinkError::Confused),
    }
}

/// Begins to take a layer out of the running VM's disk.
pub(crate) async fn merge_layer(folder: &VmFolder, layer: PathBuf) -> Result<(), LinkError> {
    done(folder, &ShimRequest::MergeLayer(layer)).await
}

/// Ends the VM and waits until it is gone.
pub(crate) async fn stop(folder: &VmFolder, stop: Stop) -> Result<(), LinkError> {
    let patience = ANSWER + Duration::from_millis(stop.grace_ms);
    match ask(folder, &ShimRequest::Stop(stop), patience).await?.1 {
        ShimReply::Stopped => Ok(()),
        _ => Err(LinkError::Confused),
    }
}

/// Lets a VM stand still.
pub(crate) async fn pause(folder: &VmFolder) -> Result<(), LinkError> {
    done(folder, &ShimRequest::Pause).await
}

/// Lets a VM that stood still go on, until that time, in milliseconds since 1970.
pub(crate) async fn hand_out(folder: &VmFolder, expires_at_ms: u64) -> Result<(), LinkError> {
    done(folder, &ShimRequest::HandOut(HandOut { expires_at_ms })).await
}

/// Binds ports of this host for a service that is about to be started.
pub(crate) async fn publish(
    folder: &VmFolder,
    request: Publish,
) -> Result<Vec<Published>, LinkError> {
    let wanted = request.ports.len();
    match ask(folder, &ShimRequest::Publish(request), ANSWER).await?.1 {
        ShimReply::Published(published) if published.len() == wanted => Ok(published),
        _ => Err(LinkError::Confused),
    }
}

/// Gives up the ports of a service.
pub(crate) async fn unpublish(folder: &VmFolder, instance: u64) -> Result<(), LinkError> {
    done(folder, &ShimRequest::Unpublish { instance }).await
}

async fn done(folder: &VmFolder, request: &ShimRequest) -> Result<(), LinkError> {
    match ask(folder, request, ANSWER).await?.1 {
        ShimReply::Done => Ok(()),
        _ => Err(LinkError::Confused),
    }
}

async fn ask(
    folder: &VmFolder,
    request: &ShimRequest,
    patience: Duration,
) -> Result<(UnixStream, ShimReply), LinkError> {
    let broken = |source| LinkError::Broken { source };
    let exchange = async {
        let mut stream = connect(folder)
            .await
            .map_err(|source| LinkError::Connect { source })?;
        frame::write_message(&mut stream, request)
            .await
            .map_err(broken)?;
        match frame::read_message(&mut stream).await.map_err(broken)? {
            ShimReply::Failed(fault) => Err(LinkError::Failed { fault }),
            reply => Ok((stream, reply)),
        }
    };
    timeout(patience, exchange)
        .await
        .map_err(|_| LinkError::Silent)?
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
