//! The control socket: one request per connection, each connection its own task.
//!
//! A connection only turns bytes into a [`Request`] for the supervisor and its reply into bytes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, FrameError};
use pyro_wire::launch::DiskLayer;
use pyro_wire::session::{Opener, Stream};
use pyro_wire::shim::{CONTROL_SOCKET, Lease, ShimReply, ShimRequest, Stop};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bridge;
use crate::jobs::{self, Jobs};
use crate::publish::{self, Ports};
use crate::usage::Usage;

/// How long a client may take to say what it wants.
const FIRST_WORDS: Duration = Duration::from_secs(5);

/// How long the agent may take to accept a stream.
const OPENING: Duration = Duration::from_secs(10);

/// A pause after the system refused a connection, so that a lack of descriptors is no busy loop.
const REFUSED: Duration = Duration::from_millis(100);

/// What the world asks of the supervisor: all of it comes through one queue.
pub(crate) enum Request {
    Status {
        reply: oneshot::Sender<ShimReply>,
    },
    Agent {
        reply: oneshot::Sender<Result<Opener, Fault>>,
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
        hand_out: Lease,
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

/// Everything about the clients that the supervisor needs a hand on.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    over: CancellationToken,
}

/// What every client's task has at hand.
pub(crate) struct Shared {
    requests: mpsc::Sender<Request>,
    usage: Arc<Usage>,
    /// Cuts every line to the agent.
    cut: CancellationToken,
    pub(crate) ports: Ports,
    pub(crate) jobs: Jobs,
    pub(crate) tasks: TaskTracker,
}

impl Shared {
    pub(crate) fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    pub(crate) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// Who opens streams to the agent.
    pub(crate) async fn opener(&self) -> Result<Opener, Fault> {
        ask(self, |reply| Request::Agent { reply })
            .await
            .unwrap_or_else(|| Err(over()))
    }

    /// Has the VM ended, as its guest does not do what it is told.
    pub(crate) async fn ask_for_the_end(&self) {
        let _ = self.requests.send(Request::Terminate).await;
    }

    pub(crate) async fn open(&self) -> Result<Stream, Fault> {
        let opener = self.opener().await?;
        let failed = |why: String| Fault::new(FaultCode::GuestDied, why);
        match timeout(OPENING, opener.open()).await {
            Ok(opened) => opened.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed("the agent accepts no connection".into())),
        }
    }
}

impl Clients {
    /// Makes the socket in the current folder, in place of a stale one, and serves it.
    /// All of them together take no more than so many descriptors.
    pub(crate) fn serve(requests: mpsc::Sender<Request>, files: u64) -> io::Result<Self> {
        let listener = bind()?;
        let clients = Self {
            shared: Arc::new(Shared {
                requests,
                usage: Usage::new(files),
                cut: CancellationToken::new(),
                ports: Ports::default(),
                jobs: Jobs::default(),
                tasks: TaskTracker::new(),
            }),
            over: CancellationToken::new(),
        };
        let door = Door {
            listener,
            shared: Arc::clone(&clients.shared),
        };
        let tasks = &clients.shared.tasks;
        tasks.spawn(door.keep(clients.over.clone()));
        Ok(clients)
    }

    pub(crate) fn usage(&self) -> &Arc<Usage> {
        &self.shared.usage
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Closes every line to the agent at once: it is gone.
    pub(crate) fn cut(&self) {
        self.shared.cut.cancel();
    }

    /// Takes the socket away. Who came before that is still heard.
    pub(crate) fn close(&self) {
        let _ = std::fs::remove_file(CONTROL_SOCKET);
        self.over.cancel();
    }

    /// Gives the last replies a moment to be written.
    pub(crate) async fn finish(self, limit: Duration) {
        self.shared.tasks.close();
        let _ = timeout(limit, self.shared.tasks.wait()).await;
    }
}

fn bind() -> io::Result<UnixListener> {
    match std::fs::remove_file(CONTROL_SOCKET) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // For nobody but the user, from its first moment on.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(CONTROL_SOCKET);
    umask(before);
    listener
}

struct Door {
    listener: UnixListener,
    shared: Arc<Shared>,
}

impl Door {
    async fn keep(self, over: CancellationToken) {
        over.run_until_cancelled(self.accept()).await;
        // Whoever stands in the queue gets the answer that the VM is over, and no broken line.
        let Ok(queue) = self.listener.into_std() else {
            return;
        };
        while let Ok((client, _)) = queue.accept() {
            if let Ok(()) = client.set_nonblocking(true)
                && let Ok(client) = UnixStream::from_std(client)
            {
                welcome(client, &self.shared);
            }
        }
    }

    async fn accept(&self) {
        loop {
            match self.listener.accept().await {
                Ok((client, _)) => welcome(client, &self.shared),
                Err(_) => tokio::time::sleep(REFUSED).await,
            }
        }
    }
}

fn welcome(client: UnixStream, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    shared.tasks.clone().spawn(async move {
        // A client that breaks off hurts only itself.
        let _ = serve(client, &shared).await;
    });
}

async fn serve(mut client: UnixStream, shared: &Arc<Shared>) -> Result<(), FrameError> {
    let Ok(request) = timeout(FIRST_WORDS, frame::read_message(&mut client)).await else {
        return Ok(());
    };
    let reply = match request {
        Ok(ShimRequest::Status) => ask(shared, |reply| Request::Status { reply }).await,
        Ok(ShimRequest::AddLayer(layer)) => {
            ask(shared, |reply| Request::AddLayer { layer, reply }).await
        }
        Ok(ShimRequest::MergeLayer(layer)) => {
            ask(shared, |reply| Request::MergeLayer { layer, reply }).await
        }
        Ok(ShimRequest::Touch) => ask(shared, |reply| Request::Touch { reply }).await,
        Ok(ShimRequest::Stop(stop)) => ask(shared, |reply| Request::Stop { stop, reply }).await,
        Ok(ShimRequest::Pause) => ask(shared, |reply| Request::Pause { reply }).await,
        Ok(ShimRequest::Lease(hand_out)) => {
            ask(shared, |reply| Request::Lease { hand_out, reply }).await
        }
        Ok(ShimRequest::Publish(ports)) => Some(publish::publish(shared, &ports).await),
        Ok(ShimRequest::Unpublish { instance }) => Some(publish::unpublish(shared, instance).await),
        Ok(ShimRequest::Agent) => return line(client, shared).await,
        Ok(ShimRequest::JobStart(request)) => return jobs::start(client, shared, request).await,
        Ok(ShimRequest::JobWait(request)) => return jobs::wait(client, shared, request).await,
        Ok(ShimRequest::JobStop { job }) => Some(jobs::stop(shared, job).await),
        // A frame of nonsense, or a request of a newer engine.
        Err(FrameError::Io { .. } | FrameError::Ended | FrameError::CutOff) => return Ok(()),
        Err(error) => {
            let fault = Fault::new(FaultCode::Protocol, error.to_string());
            Some(ShimReply::Failed(fault))
        }
    };
    let reply = reply.unwrap_or_else(|| ShimReply::Failed(over()));
    frame::write_message(&mut client, &reply).await
}

/// Puts a question to the supervisor; `None` when it is gone.
async fn ask<T>(shared: &Shared, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    shared.requests.send(request(reply)).await.ok()?;
    answer.await.ok()
}

async fn line(mut client: UnixStream, shared: &Shared) -> Result<(), FrameError> {
    let opened = match shared.usage.line() {
        Some(line) => shared.open().await.map(|stream| (line, stream)),
        None => Err(Fault::new(
            FaultCode::Refused,
            format!(
                "{} connections to the guest are open already",
                shared.usage.most_lines()
            ),
        )),
    };
    let (_line, stream) = match opened {
        Ok(opened) => opened,
        Err(fault) => return frame::write_message(&mut client, &ShimReply::Failed(fault)).await,
    };
    frame::write_message(&mut client, &ShimReply::Bridged).await?;
    let bridged = bridge::run(client, stream);
    match shared.cut.run_until_cancelled(bridged).await {
        Some(result) => Ok(result?),
        None => Ok(()),
    }
}

fn over() -> Fault {
    Fault::new(FaultCode::Over, "the VM is over")
}
