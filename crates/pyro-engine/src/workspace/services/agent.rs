//! Asks a workspace's agent about services. The guest is not trusted: what it sends is bounded, and
//! every wait ends.

use std::time::Duration;

use pyro_wire::agent::AgentRequest;
use pyro_wire::fault::Fault;
use pyro_wire::frame::{self, FrameError, Kind};
use pyro_wire::service::{
    LOG_BYTES, MAX_SERVICES, STOP_MS, ServiceLogs, ServiceReply, ServiceStart, ServiceState,
    ServiceStop,
};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an agent may take for what it does at once.
const ANSWER: Duration = Duration::from_secs(30);

/// How much longer than agreed the agent may take to end a service.
const MARGIN: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("{}", fault.message)]
    Refused { fault: Fault },
    #[error("the connection to the guest was lost")]
    Broken {
        #[source]
        source: FrameError,
    },
    #[error("the guest did not answer in time")]
    Silent,
    #[error("the guest sent an unexpected reply")]
    InvalidReply,
    #[error("the call was cancelled")]
    CallerGone,
}

impl From<FrameError> for AgentError {
    fn from(source: FrameError) -> Self {
        Self::Broken { source }
    }
}

/// What comes of a log.
pub(crate) enum Piece<'a> {
    Bytes(Kind, &'a [u8]),
    /// So much was written and forgotten before it could be sent.
    Lost(u64),
}

/// Both streams of a log, or what was asked for of it.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) truncated: bool,
}

/// Starts a service and waits until it is ready or has ended. Dropping the future before that ends
/// it.
pub(crate) async fn start(
    mut stream: UnixStream,
    request: ServiceStart,
) -> Result<ServiceState, AgentError> {
    let patience = Duration::from_millis(request.ready_timeout_ms + STOP_MS) + MARGIN;
    let request = AgentRequest::ServiceStart(request);
    state(ask(&mut stream, &request, patience).await?)
}

pub(crate) async fn stop(
    mut stream: UnixStream,
    instance: u64,
) -> Result<ServiceState, AgentError> {
    let request = AgentRequest::ServiceStop(ServiceStop { instance });
    let patience = Duration::from_millis(STOP_MS) + MARGIN;
    state(ask(&mut stream, &request, patience).await?)
}

/// Every service that the agent knows.
pub(crate) async fn list(mut stream: UnixStream) -> Result<Vec<ServiceState>, AgentError> {
    match ask(&mut stream, &AgentRequest::ServiceList, ANSWER).await? {
        ServiceReply::States(states) if states.len() <= MAX_SERVICES => Ok(states),
        _ => Err(AgentError::InvalidReply),
    }
}

/// The end of a log, or all of it.
pub(crate) async fn log(
    stream: UnixStream,
    instance: u64,
    tail_lines: Option<u64>,
) -> Result<Log, AgentError> {
    let mut log = Log::default();
    let request = ServiceLogs {
        instance,
        tail_lines,
        follow: false,
    };
    let heard = hear(stream, request, |piece| {
        let (stream, bytes) = match piece {
            Piece::Bytes(Kind::Output, bytes) => (&mut log.stdout, bytes),
            Piece::Bytes(_, bytes) => (&mut log.stderr, bytes),
            // The end says so, too.
            Piece::Lost(_) => return Ok(()),
        };
        if stream.len() + bytes.len() > LOG_BYTES {
            return Err(AgentError::InvalidReply);
        }
        stream.extend_from_slice(bytes);
        Ok(())
    });
    let truncated = timeout(ANSWER, heard)
        .await
        .map_err(|_| AgentError::Silent)??;
    log.truncated = truncated;
    Ok(log)
}

/// Hands a log on as it comes until its service has ended; says whether there was more.
pub(crate) async fn follow(
    stream: UnixStream,
    instance: u64,
    tail_lines: Option<u64>,
    take: impl FnMut(Piece<'_>) -> Result<(), AgentError>,
) -> Result<bool, AgentError> {
    let request = ServiceLogs {
        instance,
        tail_lines,
        follow: true,
    };
    hear(stream, request, take).await
}

async fn hear(
    mut stream: UnixStream,
    request: ServiceLogs,
    mut take: impl FnMut(Piece<'_>) -> Result<(), AgentError>,
) -> Result<bool, AgentError> {
    frame::write_message(&mut stream, &AgentRequest::ServiceLogs(request)).await?;
    loop {
        let frame = frame::read(&mut stream).await?.ok_or(FrameError::Ended)?;
        match frame.kind {
            Kind::Output | Kind::ErrorOutput => take(Piece::Bytes(frame.kind, &frame.body))?,
            Kind::Input => return Err(AgentError::InvalidReply),
            Kind::Message => match frame.message()? {
                ServiceReply::LogLost(bytes) => take(Piece::Lost(bytes))?,
                ServiceReply::LogEnd { truncated } => return Ok(truncated),
                ServiceReply::Failed(fault) => return Err(AgentError::Refused { fault }),
                _ => return Err(AgentError::InvalidReply),
            },
        }
    }
}

fn state(reply: ServiceReply) -> Result<ServiceState, AgentError> {
    match reply {
        ServiceReply::State(state) => Ok(state),
        _ => Err(AgentError::InvalidReply),
    }
}

async fn ask(
    stream: &mut UnixStream,
    request: &AgentRequest,
    patience: Duration,
) -> Result<ServiceReply, AgentError> {
    let exchange = async {
        frame::write_message(stream, request).await?;
        match frame::read_message(stream).await? {
            ServiceReply::Failed(fault) => Err(AgentError::Refused { fault }),
            reply => Ok(reply),
        }
    };
    timeout(patience, exchange)
        .await
        .map_err(|_| AgentError::Silent)?
}
