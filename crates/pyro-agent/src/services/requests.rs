//! Answers requests about services.

use std::sync::Arc;
use std::time::Duration;

use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, DATA_CHUNK, FrameError, Kind};
use pyro_wire::service::{
    STOP_MS, ServiceLogs, ServiceReply, ServiceStart, ServiceState, ServiceStop, ServiceWatch,
};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::log::{Log, Piece, Tail};
use super::service::{Service, StopRequest};
use super::supervise;
use super::table::Services;
use crate::launcher::Launcher;
use crate::lifecycle::Lifecycle;
use crate::peer::{Peer, Reader, Writer};

/// How much longer than [`STOP_MS`] a service may take to end, as it may have to be killed.
const KILL_LIMIT: Duration = Duration::from_secs(8);

/// How often we look for a service that is to be watched and is not there yet.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) enum Request {
    Start(ServiceStart),
    Stop(ServiceStop),
    List,
    Logs(ServiceLogs),
    Watch(ServiceWatch),
    End,
}

/// Serves one request. An error means that the asking side is gone.
pub(crate) async fn serve<P: Peer>(
    services: &Services,
    launcher: &Arc<Launcher>,
    lifecycle: &Lifecycle,
    request: Request,
    from: &mut Reader<P>,
    to: &mut Writer<P>,
) -> Result<(), FrameError> {
    let answer = match request {
        Request::Start(request) => tokio::select! {
            state = start(services, launcher, lifecycle, request) => state.map(ServiceReply::State),
            // Dropping the start ends what is not ready.
            () = gone(from) => return Err(FrameError::Ended),
        },
        Request::Stop(request) => stop(services, &request).await.map(ServiceReply::State),
        Request::List => Ok(ServiceReply::States(services.states())),
        Request::Logs(request) => {
            let Some(service) = services.find(request.instance) else {
                return frame::write_message(to, &ServiceReply::Failed(unknown())).await;
            };
            let sent = logs(&service, &request, to);
            return match request.follow {
                false => sent.await,
                true => tokio::select! {
                    sent = sent => sent,
                    () = gone(from) => Err(FrameError::Ended),
                },
            };
        }
        Request::Watch(request) => {
            return tokio::select! {
                watched = watch(services, &request, to) => watched,
                () = gone(from) => Err(FrameError::Ended),
            };
        }
        Request::End => return end_all(services, to).await,
    };
    let reply = answer.unwrap_or_else(ServiceReply::Failed);
    frame::write_message(to, &reply).await
}

/// Resolves when the asking side has gone. It has nothing to say after its request.
async fn gone<P: Peer>(from: &mut Reader<P>) {
    let mut nothing = [0; 64];
    while from.read(&mut nothing).await.is_ok_and(|count| count > 0) {}
}

fn unknown() -> Fault {
    Fault::new(FaultCode::NotFound, "the guest has no such service")
}

/// Stops a service when it is dropped.
struct StopOnDrop<'a>(Option<&'a Service>);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(service) = self.0 {
            service.request_stop(StopRequest::Service);
        }
    }
}

async fn start(
    services: &Services,
    launcher: &Arc<Launcher>,
    lifecycle: &Lifecycle,
    request: ServiceStart,
) -> Result<ServiceState, Fault> {
    lifecycle.ready_for("services")?;
    let service = services.admit(&request)?;
    let (started, starting) = oneshot::channel();
    let life = supervise::run(Arc::clone(launcher), Arc::clone(&service), request, started);
    tokio::spawn(life);
    let mut stop_on_drop = StopOnDrop(Some(&service));
    if let Ok(Err(fault)) = starting.await {
        services.remove(service.instance);
        return Err(fault);
    }
    service.ready_or_ended().await;
    stop_on_drop.0 = None;
    Ok(service.state())
}

async fn stop(services: &Services, request: &ServiceStop) -> Result<ServiceState, Fault> {
    let service = services.find(request.instance).ok_or_else(unknown)?;
    service.request_stop(StopRequest::Service);
    let limit = Duration::from_millis(STOP_MS) + KILL_LIMIT;
    let _ = timeout(limit, service.ended()).await;
    Ok(service.state())
}

async fn logs(
    service: &Service,
    request: &ServiceLogs,
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), FrameError> {
    let [first, second] =
        [&service.stdout, &service.stderr].map(|log| log.tail(request.tail_lines));
    let mut truncated = first.truncated || second.truncated;
    let (mut first_at, mut second_at) = (first.at, second.at);
    loop {
        for (log, at, kind) in [
            (&service.stdout, &mut first_at, Kind::Output),
            (&service.stderr, &mut second_at, Kind::ErrorOutput),
        ] {
            truncated |= send(log, at, kind, to).await?;
        }
        if !request.follow {
            break;
        }
        let more = tokio::select! {
            more = service.stdout.grown(first_at) => more || service.stderr.grown(second_at).await,
            more = service.stderr.grown(second_at) => more || service.stdout.grown(first_at).await,
        };
        if !more {
            break;
        }
    }
    frame::write_message(to, &ServiceReply::LogEnd { truncated }).await
}

/// Sends what a log holds behind `at`, and moves that; says whether some of it was gone already. What
/// is written meanwhile is not waited for: a flood would have no end.
async fn send(
    log: &Log,
    at: &mut u64,
    kind: Kind,
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<bool, FrameError> {
    let mut left = pyro_wire::service::LOG_BYTES;
    let mut cut = false;
    while left > 0 {
        let Piece { lost, bytes, next } = log.read(*at, DATA_CHUNK.min(left));
        *at = next;
        if lost > 0 {
            cut = true;
            frame::write_message(to, &ServiceReply::LogLost(lost)).await?;
        }
        if bytes.is_empty() {
            break;
        }
        left -= bytes.len();
        frame::write_data(to, kind, &bytes).await?;
    }
    Ok(cut)
}

async fn watch(
    services: &Services,
    request: &ServiceWatch,
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), FrameError> {
    let deadline = Instant::now() + Duration::from_millis(request.timeout_ms);
    let service = loop {
        if let Some(service) = services.find(request.instance) {
            break service;
        }
        if Instant::now() > deadline {
            return frame::write_message(to, &ServiceReply::Failed(unknown())).await;
        }
        sleep(LOOK).await;
    };
    service.ready_or_ended().await;
    if service.is_running() {
        frame::write_message(to, &ServiceReply::State(service.state())).await?;
        service.ended().await;
    }
    frame::write_message(to, &ServiceReply::State(service.state())).await
}

/// Ends every service and hands out everything that there is to know of them.
async fn end_all(
    services: &Services,
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), FrameError> {
    services.close();
    let all = services.all();
    for service in &all {
        service.request_stop(StopRequest::Everything);
    }
    let deadline = Instant::now() + Duration::from_millis(STOP_MS) + KILL_LIMIT;
    for service in &all {
        let _ = timeout_at(deadline, service.ended()).await;
        frame::write_message(to, &ServiceReply::State(service.state())).await?;
        let mut cut = false;
        for (log, kind) in [
            (&service.stdout, Kind::Output),
            (&service.stderr, Kind::ErrorOutput),
        ] {
            let Tail { mut at, truncated } = log.tail(None);
            cut |= truncated | send(log, &mut at, kind, to).await?;
        }
        frame::write_message(to, &ServiceReply::LogEnd { truncated: cut }).await?;
    }
    frame::write_message(to, &ServiceReply::Done).await
}
