//! Ports of this host that lead to services in the guest.
//!
//! ```text
//! Publish ▶ ports bound, nobody served ── service ready ──▶ served ── service ended,   ──▶ given up
//!                     │                                              Unpublish, VM over
//!                     └── service not there, or ended before ──────────────────────────▶ given up
//! ```
//!
//! Who connects too early waits, and so does for a while who finds every place taken. Each connection has a stream to the agent of its own, with a window
//! of its own, so that a slow one holds up no other. Only 127.0.0.1 is ever bound.

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

use crate::control::Shared;
use crate::usage::Line;

/// Ports of one service.
const MOST_PORTS: usize = 64;

/// How long a service may take to appear after its ports were bound.
const APPEARANCE: Duration = Duration::from_secs(30);

/// How long the guest may take to answer for a port.
const ANSWER: Duration = Duration::from_secs(15);

/// How long a service that the guest is reaching for may take: a little longer than the guest tries.
const TRYING: Duration = Duration::from_secs(150);

/// How long connections wait for a place when all are taken. When none has come free for so long, who
/// comes is refused until one does: those that have a place may keep it for ever.
const TURN: Duration = Duration::from_secs(10);

/// How long what a service said last may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How many connections may wait for their turn.
const QUEUE: u32 = 4096;

/// A pause after the system refused a connection, so that a lack of descriptors is no busy loop.
const REFUSED: Duration = Duration::from_millis(100);

/// What gives up the ports of each service.
#[derive(Default)]
pub(crate) struct Ports(Mutex<HashMap<u64, CancellationToken>>);

impl Ports {
    fn table(&self) -> MutexGuard<'_, HashMap<u64, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds all ports, or none.
pub(crate) async fn publish(shared: &Arc<Shared>, request: &Publish) -> ShimReply {
    match try_publish(shared, request).await {
        Ok(published) => ShimReply::Published(published),
        Err(fault) => ShimReply::Failed(fault),
    }
}

async fn try_publish(shared: &Arc<Shared>, request: &Publish) -> Result<Vec<Published>, Fault> {
    if request.ports.len() > MOST_PORTS {
        let words = format!("a service can publish {MOST_PORTS} ports");
        return Err(Fault::new(FaultCode::Refused, words));
    }
    // A VM that is not there, or about to go, gets none.
    shared.opener().await?;
    let over = shared.cut().child_token();
    let cut = shared.cut().child_token();
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
    if let Some(before) = shared.ports.table().insert(instance, over.clone()) {
        before.cancel();
    }
    let keeper = Arc::clone(shared);
    shared.tasks.spawn(async move {
        let service = serve(&keeper, instance, listeners, &cut);
        let _ = over.run_until_cancelled(service).await;
        over.cancel();
        keeper
            .ports
            .table()
            .retain(|_, token| !token.is_cancelled());
        // Connections end with their service by themselves, but for those that it does not have.
        let _ = cut.run_until_cancelled(sleep(LAST_WORDS)).await;
        cut.cancel();
    });
    Ok(published)
}

/// Gives up the ports of a service, if it has any.
pub(crate) async fn unpublish(shared: &Shared, instance: u64) -> ShimReply {
    let over = shared.ports.table().remove(&instance);
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
        socket.listen(QUEUE)
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
        FaultCode::Conflict => format!("{port} is taken"),
        _ => format!("{port} cannot be bound: {error}"),
    };
    Fault::new(code, why)
}

/// Serves the ports from when the service is ready until it has ended.
async fn serve(
    shared: &Arc<Shared>,
    instance: u64,
    listeners: Vec<(TcpListener, u16)>,
    cut: &CancellationToken,
) {
    let Ok(mut watch) = watch(shared, instance).await else {
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
        .map(|(listener, port)| accept(shared, listener, *port, cut));
    tokio::select! {
        _ = futures::future::join_all(accepting) => {}
        // It has ended, or the guest has.
        _ = state(&mut watch) => {}
    }
}

async fn watch(shared: &Shared, instance: u64) -> Result<Stream, Fault> {
    let mut stream = shared.open().await?;
    let request = AgentRequest::ServiceWatch(ServiceWatch {
        instance,
        timeout_ms: APPEARANCE.as_millis() as u64,
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
    shared: &Arc<Shared>,
    listener: &TcpListener,
    guest_port: u16,
    cut: &CancellationToken,
) {
    let mut patience = TURN;
    loop {
        let Ok((client, _)) = listener.accept().await else {
            sleep(REFUSED).await;
            continue;
        };
        let client = Connection::new(client);
        // Those behind wait in the queue of the system.
        let Ok(place) = timeout(patience, shared.usage().forward()).await else {
            patience = Duration::ZERO;
            continue;
        };
        patience = TURN;
        let Some(place) = place else {
            return;
        };
        let (shared, cut) = (Arc::clone(shared), cut.clone());
        shared.tasks.clone().spawn(async move {
            let carried = relay(&shared, client, guest_port, place);
            let _ = cut.run_until_cancelled(carried).await;
        });
    }
}

async fn relay(shared: &Shared, client: Connection, guest_port: u16, _place: Line) {
    let stream = tokio::select! {
        stream = reach(shared, guest_port) => stream,
        () = client.broken() => None,
    };
    // Where nothing listens, the client sees its connection reset.
    if let Some(stream) = stream {
        client.relay(stream).await;
    }
}

async fn reach(shared: &Shared, port: u16) -> Option<Stream> {
    let mut stream = shared.open().await.ok()?;
    let request = AgentRequest::Connect(Connect { port });
    let asking = frame::write_message(&mut stream, &request);
    timeout(ANSWER, asking).await.ok()?.ok()?;
    let mut patience = ANSWER;
    loop {
        let reply = frame::read_message(&mut stream);
        match timeout(patience, reply).await.ok()?.ok()? {
            ConnectReply::Trying => patience = TRYING,
            ConnectReply::Connected => return Some(stream),
            ConnectReply::Failed(_) => return None,
        }
    }
}
