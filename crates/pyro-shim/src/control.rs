//! The control socket: one request per connection, each connection its own task.
//!
//! A connection only turns bytes into a [`Request`] for the supervisor and its reply into bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, FrameError};
use pyro_wire::session::{Opener, Stream};
use pyro_wire::shim::{CONTROL_SOCKET, HandOut, ShimReply, ShimRequest, Stop};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bridge;

/// How long a client may take to say what it wants.
const FIRST_WORDS: Duration = Duration::from_secs(5);

/// How long the agent may take to accept a stream.
const OPENING: Duration = Duration::from_secs(10);

/// Lines to the agent at one time. A session carries 256 streams and breaks when one more is
/// opened; a line that ended may occupy its place a little longer.
const LINES: usize = 192;

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
    Pause {
        reply: oneshot::Sender<ShimReply>,
    },
    HandOut {
        hand_out: HandOut,
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
    tasks: TaskTracker,
    shared: Arc<Shared>,
    over: CancellationToken,
}

struct Shared {
    requests: mpsc::Sender<Request>,
    lines: Semaphore,
    /// Cuts every line to the agent.
    cut: CancellationToken,
}

impl Clients {
    /// Makes the socket in the current folder, in place of a stale one, and serves it.
    pub(crate) fn serve(requests: mpsc::Sender<Request>) -> io::Result<Self> {
        let listener = bind()?;
        let clients = Self {
            tasks: TaskTracker::new(),
            shared: Arc::new(Shared {
                requests,
                lines: Semaphore::new(LINES),
                cut: CancellationToken::new(),
            }),
            over: CancellationToken::new(),
        };
        let accepting = accept(listener, clients.tasks.clone(), Arc::clone(&clients.shared));
        tokio::spawn(clients.over.clone().run_until_cancelled_owned(accepting));
        Ok(clients)
    }

    /// Connections bridged to the agent right now.
    pub(crate) fn connections(&self) -> u32 {
        u32::try_from(LINES - self.shared.lines.available_permits()).unwrap_or(u32::MAX)
    }

    /// Closes every line to the agent at once: it is gone.
    pub(crate) fn cut(&self) {
        self.shared.cut.cancel();
    }

    /// Accepts nobody any more and takes the socket away.
    pub(crate) fn close(&self) {
        self.over.cancel();
        let _ = std::fs::remove_file(CONTROL_SOCKET);
    }

    /// Gives the last replies a moment to be written.
    pub(crate) async fn finish(self, limit: Duration) {
        self.tasks.close();
        let _ = timeout(limit, self.tasks.wait()).await;
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

async fn accept(listener: UnixListener, tasks: TaskTracker, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let shared = Arc::clone(&shared);
                tasks.spawn(async move {
                    // A client that breaks off hurts only itself.
                    let _ = serve(client, &shared).await;
                });
            }
            Err(_) => tokio::time::sleep(REFUSED).await,
        }
    }
}

async fn serve(mut client: UnixStream, shared: &Shared) -> Result<(), FrameError> {
    let Ok(request) = timeout(FIRST_WORDS, frame::read_message(&mut client)).await else {
        return Ok(());
    };
    let reply = match request {
        Ok(ShimRequest::Status) => ask(shared, |reply| Request::Status { reply }).await,
        Ok(ShimRequest::Stop(stop)) => ask(shared, |reply| Request::Stop { stop, reply }).await,
        Ok(ShimRequest::Pause) => ask(shared, |reply| Request::Pause { reply }).await,
        Ok(ShimRequest::HandOut(hand_out)) => {
            ask(shared, |reply| Request::HandOut { hand_out, reply }).await
        }
        Ok(ShimRequest::Agent) => return line(client, shared).await,
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
    let opened = match shared.lines.try_acquire() {
        Ok(permit) => open(shared).await.map(|stream| (permit, stream)),
        Err(_) => Err(Fault::new(
            FaultCode::Refused,
            format!("{LINES} connections to the guest are open already"),
        )),
    };
    let (_permit, stream) = match opened {
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

async fn open(shared: &Shared) -> Result<Stream, Fault> {
    let opener = ask(shared, |reply| Request::Agent { reply })
        .await
        .unwrap_or_else(|| Err(over()))?;
    let failed = |why: String| Fault::new(FaultCode::GuestDied, why);
    match timeout(OPENING, opener.open()).await {
        Ok(opened) => opened.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed("the agent accepts no connection".into())),
    }
}

fn over() -> Fault {
    Fault::new(FaultCode::Refused, "the VM is over")
}
