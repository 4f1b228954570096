//! Ports of this host that lead to services in the guest.
//!
//! ```text
//! Publish ▶ ports bound, nobody served ── service ready ──▶ served ── service ended,   ──▶ given up
//!                     │                                              Unpublish, VM over
//!                     └── service not there, or ended before ──────────────────────────▶ given up
//! ```
//!
//! Who connects too early waits, and so does for a while who finds too many connections open. Each
//! connection has a stream to the agent of its own, with a window of its own, so that a slow one
//! holds up no other. Only 127.0.0.1 is ever bound.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyro_wire::agent::AgentRequest;
use pyro_wire::connection::Connection;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame;
use pyro_wire::service::{
    Connect, ConnectReply, ServicePhase, ServiceReply, ServiceState, ServiceWatch,
};
use pyro_wire::session::Stream;
use pyro_wire::shim::{Publish, Published, ShimReply, WantedPort};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::handle::VmHandle;
use crate::usage::Lease;

/// Ports of one service.
const MAX_PORTS: usize = 64;

/// How long a service may take to appear after its ports were bound.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the guest may take to answer for a port.
const REPLY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a service that the guest is reaching for may take: a little longer than the guest tries.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(150);

/// How long connections wait for a place when all are taken. When none has come free for so long, who
/// comes is refused until one does: those that have a place may keep it for ever.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long what a service said last may take to arrive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How many connections may wait for their turn.
const LISTEN_BACKLOG: u32 = 4096;

/// A pause after the system refused a connection, so that a lack of descriptors is no busy loop.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// What gives up the ports of each service.
#[derive(Default)]
pub(crate) struct Ports(Mutex<HashMap<u64, CancellationToken>>);

impl Ports {
    fn table(&self) -> MutexGuard<'_, HashMap<u64, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds all ports, or none.
pub(crate) async fn publish(
    vm: &Arc<VmHandle>,
    ports: &Arc<Ports>,
    request: &Publish,
) -> ShimReply {
    match try_publish(vm, ports, request).await {
        Ok(published) => ShimReply::Published(published),
        Err(fault) => ShimReply::Failed(fault),
    }
}

async fn try_publish(
    vm: &Arc<VmHandle>,
    ports: &Arc<Ports>,
    request: &Publish,
) -> Result<Vec<Published>, Fault> {
    if request.ports.len() > MAX_PORTS {
        let words = format!("a service can publish {MAX_PORTS} ports");
        return Err(Fault::new(FaultCode::Refused, words));
    }
    // A VM that is not there, or about to go, gets none.
    vm.opener().await?;
    let over = vm.disconnected().child_token();
    let disconnected = vm.disconnected().child_token();
    let mut listeners = Vec::new();
    let mut published = Vec::new();
    for wanted in &request.ports {
        let listener = bind(wanted)?;
        let bound = listener
            .local_addr()
            .map_err(|error| taken(wanted, &error))?;
        published.push(Published {
            host_port: bound.port(),
            guest_port: wanted.guest_port,
        });
        listeners.push((listener, wanted.guest_port));
    }
    let instance = request.instance;
    if let Some(before) = ports.table().insert(instance, over.clone()) {
        before.cancel();
    }
    let (task_vm, ports) = (Arc::clone(vm), Arc::clone(ports));
    vm.tasks.spawn(async move {
        let service = serve(&task_vm, instance, listeners, &disconnected);
        let _ = over.run_until_cancelled(service).await;
        over.cancel();
        ports.table().retain(|_, token| !token.is_cancelled());
        // Connections end with their service by themselves, but for those that it does not have.
        let _ = disconnected.run_until_cancelled(sleep(DRAIN_TIMEOUT)).await;
        disconnected.cancel();
    });
    Ok(published)
}

/// Gives up the ports of a service, if it has any.
pub(crate) async fn unpublish(ports: &Ports, instance: u64) -> ShimReply {
    let over = ports.table().remove(&instance);
    if let Some(over) = over {
        over.cancel();
        // The task that holds the listeners ends at its next turn.
        tokio::task::yield_now().await;
    }
    ShimReply::Done
}

fn bind(wanted: &WantedPort) -> Result<TcpListener, Fault> {
    let address = (Ipv4Addr::LOCALHOST, wanted.host_port.unwrap_or(0)).into();
    let bound = TcpSocket::new_v4().and_then(|socket| {
        // Connections of an earlier service that the system remembers are no reason to refuse.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(LISTEN_BACKLOG)
    });
    bound.map_err(|error| taken(wanted, &error))
}

fn taken(wanted: &WantedPort, error: &io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::AddrInUse => FaultCode::Conflict,
        io::ErrorKind::PermissionDenied => FaultCode::Refused,
        _ => FaultCode::HostIo,
    };
    let port = match wanted.host_port {
        Some(port) => format!("port {port} of 127.0.0.1"),
        None => "a free port of 127.0.0.1".to_owned(),
    };
    let why = match code {
        FaultCode::Conflict => format!("{port} is already in use"),
        _ => format!("{port} cannot be bound: {error}"),
    };
    Fault::new(code, why)
}

/// Serves the ports from when the service is ready until it has ended.
async fn serve(
    vm: &Arc<VmHandle>,
    instance: u64,
    listeners: Vec<(TcpListener, u16)>,
    disconnected: &CancellationToken,
) {
    let Ok(mut watch) = watch(vm, instance).await else {
        return;
    };
    let Some(ServiceState {
        phase: ServicePhase::Running,
        ready: true,
        ..
    }) = state(&mut watch).await
    else {
        return;
    };
    let accepting = listeners
        .iter()
        .map(|(listener, port)| accept(vm, listener, *port, disconnected));
    tokio::select! {
        _ = futures::future::join_all(accepting) => {}
        // It has ended, or the guest has.
        _ = state(&mut watch) => {}
    }
}

async fn watch(vm: &VmHandle, instance: u64) -> Result<Stream, Fault> {
    let mut stream = vm.open().await?;
    let request = AgentRequest::ServiceWatch(ServiceWatch {
        instance,
        timeout_ms: SERVICE_TIMEOUT.as_millis() as u64,
    });
    frame::write_message(&mut stream, &request)
        .await
        .map_err(|error| Fault::new(FaultCode::GuestDied, error.to_string()))?;
    Ok(stream)
}

async fn state(watch: &mut Stream) -> Option<ServiceState> {
    match frame::read_message(watch).await {
        Ok(ServiceReply::State(state)) => Some(state),
        _ => None,
    }
}

async fn accept(
    vm: &Arc<VmHandle>,
    listener: &TcpListener,
    guest_port: u16,
    disconnected: &CancellationToken,
) {
    let mut patience = QUEUE_TIMEOUT;
    loop {
        let Ok((client, _)) = listener.accept().await else {
            sleep(ACCEPT_BACKOFF).await;
            continue;
        };
        let client = Connection::new(client);
        // Those behind wait in the queue of the system.
        let Ok(lease) = timeout(patience, vm.usage().forward()).await else {
            patience = Duration::ZERO;
            continue;
        };
        patience = QUEUE_TIMEOUT;
        let Some(lease) = lease else {
            return;
        };
        let (vm, disconnected) = (Arc::clone(vm), disconnected.clone());
        vm.tasks.clone().spawn(async move {
            let carried = relay(&vm, client, guest_port, lease);
            let _ = disconnected.run_until_cancelled(carried).await;
        });
    }
}

async fn relay(vm: &VmHandle, client: Connection, guest_port: u16, _lease: Lease) {
    let stream = tokio::select! {
        stream = reach(vm, guest_port) => stream,
        () = client.broken() => None,
    };
    // Where nothing listens, the client sees its connection reset.
    if let Some(stream) = stream {
        client.relay(stream).await;
    }
}

async fn reach(vm: &VmHandle, port: u16) -> Option<Stream> {
    let mut stream = vm.open().await.ok()?;
    let request = AgentRequest::Connect(Connect { port });
    let asking = frame::write_message(&mut stream, &request);
    timeout(REPLY_TIMEOUT, asking).await.ok()?.ok()?;
    let mut patience = REPLY_TIMEOUT;
    loop {
        let reply = frame::read_message(&mut stream);
        match timeout(patience, reply).await.ok()?.ok()? {
            ConnectReply::Trying => patience = CONNECT_TIMEOUT,
            ConnectReply::Connected => return Some(stream),
            ConnectReply::Failed(_) => return None,
        }
    }
}
