//! How the tasks that serve clients reach the supervisor, and through it the guest.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::DiskLayer;
use pyro_wire::session::{Opener, Stream};
use pyro_wire::shim::{Lease, ShimReply, Stop};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{FilesServer, Line};
use crate::timer;
use crate::usage::Usage;

/// How long the agent may take to accept a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What clients, timers, signals and the owner ask of the supervisor, all through one queue.
pub(crate) enum Request {
    Status {
        reply: oneshot::Sender<ShimReply>,
    },
    Agent {
        reply: oneshot::Sender<Result<Opener, Fault>>,
    },
    /// Who serves its files beside the guest; nobody, where its agent does.
    Files {
        reply: oneshot::Sender<Result<Option<Arc<dyn FilesServer>>, Fault>>,
    },
    AddLayer {
        layer: DiskLayer,
        reply: oneshot::Sender<ShimReply>,
    },
    MergeLayer {
        layer: PathBuf,
        reply: oneshot::Sender<ShimReply>,
    },
    Touch {
        reply: oneshot::Sender<ShimReply>,
    },
    Pause {
        reply: oneshot::Sender<ShimReply>,
    },
    Lease {
        lease: Lease,
        reply: oneshot::Sender<ShimReply>,
    },
    Stop {
        stop: Stop,
        reply: oneshot::Sender<ShimReply>,
    },
    /// The process that the VM belongs to is gone.
    OwnerGone,
    /// The time to live is over.
    Expired,
    /// Somebody sent SIGTERM.
    Terminate,
}

/// The way to the supervisor and to the guest, for whoever serves a client.
pub(crate) struct VmHandle {
    requests: mpsc::Sender<Request>,
    usage: Arc<Usage>,
    /// Cancelled when the agent is gone: it ends every connection to it.
    disconnected: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl VmHandle {
    /// All connections together take no more than so many descriptors.
    pub(crate) fn new(requests: mpsc::Sender<Request>, files: u64) -> Self {
        Self {
            requests,
            usage: Usage::new(files),
            disconnected: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    pub(crate) fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    pub(crate) fn disconnected(&self) -> &CancellationToken {
        &self.disconnected
    }

    /// Who opens streams to the agent.
    pub(crate) async fn opener(&self) -> Result<Opener, Fault> {
        self.ask(|reply| Request::Agent { reply })
            .await
            .unwrap_or_else(|| Err(vm_over()))
    }

    /// Has the VM ended, as its guest does not do what it is told.
    pub(crate) async fn request_end(&self) {
        let _ = self.requests.send(Request::Terminate).await;
    }

    /// Opens a stream to the agent.
    pub(crate) async fn open(&self) -> Result<Stream, Fault> {
        open_stream(&self.opener().await?).await
    }

    /// Opens a stream to whoever serves files.
    pub(crate) async fn open_files(&self) -> Result<Line, Fault> {
        let files = self.ask(|reply| Request::Files { reply }).await;
        match files.unwrap_or_else(|| Err(vm_over()))? {
            Some(files) => files.open().await,
            None => self.open().await.map(Line::from),
        }
    }

    /// Puts a question to the supervisor; `None` when it is gone.
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Opens a stream to an agent.
pub(crate) async fn open_stream(agent: &Opener) -> Result<Stream, Fault> {
    let failed = |why: String| Fault::new(FaultCode::GuestDied, why);
    match timeout(OPEN_TIMEOUT, agent.open()).await {
        Ok(opened) => opened.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed("the agent accepts no connection".into())),
    }
}

/// Puts the end of the time to live into the queue when it has come.
pub(crate) fn expire_at(at_ms: u64, queue: &mpsc::Sender<Request>) -> std::io::Result<()> {
    let expired = timer::at_unix(at_ms)?;
    let to = queue.clone();
    tokio::spawn(async move {
        expired.await;
        let _ = to.send(Request::Expired).await;
    });
    Ok(())
}

pub(crate) fn vm_over() -> Fault {
    Fault::new(FaultCode::Over, "the VM has ended")
}
