//! The control socket: one request per connection, each connection its own task.
//!
//! A connection only turns bytes into a [`Request`] for the supervisor and its reply into bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, FrameError};
use pyro_wire::shim::{CONTROL_SOCKET, ShimReply, ShimRequest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backend::Line;
use crate::bridge;
use crate::handle::{Request, VmHandle, vm_over};
use crate::jobs::{self, Jobs};
use crate::publish::{self, Ports};
use crate::usage::Usage;

/// How long a client may take to say what it wants.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A pause after the system refused a connection, so that a lack of descriptors is no busy loop.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The clients, as the supervisor sees them.
pub(crate) struct Clients {
    shared: Shared,
    over: CancellationToken,
}

/// What every client's task has at hand.
#[derive(Clone)]
struct Shared {
    vm: Arc<VmHandle>,
    ports: Arc<Ports>,
    jobs: Arc<Jobs>,
}

impl Clients {
    /// Makes the socket in the current folder, in place of a stale one, and serves it.
    /// All of them together take no more than so many descriptors.
    pub(crate) fn serve(requests: mpsc::Sender<Request>, files: u64) -> io::Result<Self> {
        let listener = bind()?;
        let clients = Self {
            shared: Shared {
                vm: Arc::new(VmHandle::new(requests, files)),
                ports: Arc::default(),
                jobs: Arc::default(),
            },
            over: CancellationToken::new(),
        };
        let acceptor = Acceptor {
            listener,
            shared: clients.shared.clone(),
        };
        let tasks = &clients.shared.vm.tasks;
        tasks.spawn(acceptor.run(clients.over.clone()));
        Ok(clients)
    }

    pub(crate) fn usage(&self) -> &Arc<Usage> {
        self.shared.vm.usage()
    }

    pub(crate) fn jobs(&self) -> Arc<Jobs> {
        Arc::clone(&self.shared.jobs)
    }

    /// Closes every connection to the agent at once: it is gone.
    pub(crate) fn disconnect(&self) {
        self.shared.vm.disconnected().cancel();
    }

    /// Takes the socket away. Who came before that is still heard.
    pub(crate) fn close(&self) {
        let _ = std::fs::remove_file(CONTROL_SOCKET);
        self.over.cancel();
    }

    /// Gives the last replies a moment to be written.
    pub(crate) async fn finish(self, limit: Duration) {
        self.shared.vm.tasks.close();
        let _ = timeout(limit, self.shared.vm.tasks.wait()).await;
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

struct Acceptor {
    listener: UnixListener,
    shared: Shared,
}

impl Acceptor {
    async fn run(self, over: CancellationToken) {
        over.run_until_cancelled(self.accept()).await;
        // Whoever stands in the queue gets the answer that the VM is over, and no broken line.
        let Ok(queue) = self.listener.into_std() else {
            return;
        };
        while let Ok((client, _)) = queue.accept() {
            if let Ok(()) = client.set_nonblocking(true)
                && let Ok(client) = UnixStream::from_std(client)
            {
                spawn_client(client, &self.shared);
            }
        }
    }

    async fn accept(&self) {
        loop {
            match self.listener.accept().await {
                Ok((client, _)) => spawn_client(client, &self.shared),
                Err(_) => tokio::time::sleep(ACCEPT_BACKOFF).await,
            }
        }
    }
}

fn spawn_client(client: UnixStream, shared: &Shared) {
    let shared = shared.clone();
    shared.vm.tasks.clone().spawn(async move {
        // A client that breaks off hurts only itself.
        let _ = serve(client, &shared).await;
    });
}

async fn serve(mut client: UnixStream, shared: &Shared) -> Result<(), FrameError> {
    let Shared { vm, ports, jobs } = shared;
    let Ok(request) = timeout(REQUEST_TIMEOUT, frame::read_message(&mut client)).await else {
        return Ok(());
    };
    let reply = match request {
        Ok(ShimRequest::Status) => vm.ask(|reply| Request::Status { reply }).await,
        Ok(ShimRequest::AddLayer(layer)) => {
            vm.ask(|reply| Request::AddLayer { layer, reply }).await
        }
        Ok(ShimRequest::MergeLayer(layer)) => {
            vm.ask(|reply| Request::MergeLayer { layer, reply }).await
        }
        Ok(ShimRequest::Touch) => vm.ask(|reply| Request::Touch { reply }).await,
        Ok(ShimRequest::Stop(stop)) => vm.ask(|reply| Request::Stop { stop, reply }).await,
        Ok(ShimRequest::Pause) => vm.ask(|reply| Request::Pause { reply }).await,
        Ok(ShimRequest::Lease(lease)) => vm.ask(|reply| Request::Lease { lease, reply }).await,
        Ok(ShimRequest::Publish(request)) => Some(publish::publish(vm, ports, &request).await),
        Ok(ShimRequest::Unpublish { instance }) => Some(publish::unpublish(ports, instance).await),
        Ok(ShimRequest::Agent) => {
            let agent = async { vm.open().await.map(Line::from) };
            return bridge_to(agent, client, vm).await;
        }
        Ok(ShimRequest::Files) => return bridge_to(vm.open_files(), client, vm).await,
        Ok(ShimRequest::JobStart(request)) => return jobs::start(client, vm, jobs, request).await,
        Ok(ShimRequest::JobWait(request)) => return jobs::wait(client, vm, jobs, request).await,
        Ok(ShimRequest::JobStop { job }) => Some(jobs::stop(jobs, job).await),
        // A frame of nonsense, or a request of a newer engine.
        Err(FrameError::Io { .. } | FrameError::Ended | FrameError::CutOff) => return Ok(()),
        Err(error) => {
            let fault = Fault::new(FaultCode::Protocol, error.to_string());
            Some(ShimReply::Failed(fault))
        }
    };
    let reply = reply.unwrap_or_else(|| ShimReply::Failed(vm_over()));
    frame::write_message(&mut client, &reply).await
}

/// Makes a client's connection a stream to whoever `open` leads to.
async fn bridge_to(
    open: impl Future<Output = Result<Line, Fault>>,
    mut client: UnixStream,
    vm: &VmHandle,
) -> Result<(), FrameError> {
    let opened = match vm.usage().connection() {
        Some(lease) => open.await.map(|line| (lease, line)),
        None => Err(Fault::new(
            FaultCode::Refused,
            format!(
                "{} connections to the guest are open already",
                vm.usage().max_connections()
            ),
        )),
    };
    let (_lease, line) = match opened {
        Ok(opened) => opened,
        Err(fault) => return frame::write_message(&mut client, &ShimReply::Failed(fault)).await,
    };
    frame::write_message(&mut client, &ShimReply::Bridged).await?;
    let bridged = bridge::run(client, line);
    match vm.disconnected().run_until_cancelled(bridged).await {
        Some(result) => Ok(result?),
        None => Ok(()),
    }
}
