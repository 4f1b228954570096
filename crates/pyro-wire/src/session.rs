//! One session over the guest channel: a handshake, then many independent streams (yamux).
//!
//! The channel is a plain byte pipe that keeps whatever an earlier session left in it. So the
//! host starts with a greeting that cannot be mistaken, the agent throws away everything before
//! it, and answers with its own. The shim opens streams, the agent accepts them.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use crate::PROTOCOL;
pub use crate::stream::Stream;

const MAGIC: [u8; 8] = *b"\0pyro\xf1\x7e\n";

/// How many streams the host has at once, at most; one more is refused. Each may buffer 256 KiB, so
/// this also bounds what a hostile guest can make the host hold: of the streams that somebody opened
/// and does not read.
const HOST_STREAMS: usize = 1024;

/// How many more the multiplexer may know. It breaks the session when there is one too many, and
/// forgets a stream that was dropped only when it has written what comes before, which a guest that
/// stands still does not take. Of those it begins no more than 256 that the guest has not answered.
const LINGERING: usize = 512;

/// A guest forgets a stream when what it ran for it has been ended, which may take a moment each.
const AGENT_STREAMS: usize = 64 * HOST_STREAMS;

/// What one stream may buffer from the start.
const STREAM_WINDOW: usize = 256 * 1024;

/// What streams that somebody reads as fast as data comes may buffer beyond that.
const SHARED_WINDOW: usize = 64 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the guest channel failed")]
    Io {
        #[from]
        source: io::Error,
    },
    #[error("the other side speaks protocol {theirs}, this side {PROTOCOL}")]
    Version { theirs: u32 },
    #[error("{HOST_STREAMS} streams to the guest are open already")]
    Full,
    #[error("the session has ended")]
    Over,
}

/// Host side of the handshake. Cancel it by dropping; a later try starts anew.
pub async fn handshake(
    channel: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<(), SessionError> {
    send_greeting(channel).await?;
    await_greeting(channel).await
}

/// Agent side of the handshake: waits for a host, however long that takes.
pub async fn accept_handshake(
    channel: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<(), SessionError> {
    let heard = await_greeting(channel).await;
    if matches!(heard, Ok(()) | Err(SessionError::Version { .. })) {
        // A host of another version must see ours, or it would wait for an answer until its end.
        send_greeting(channel).await?;
    }
    heard
}

async fn send_greeting(channel: &mut (impl AsyncWrite + Unpin)) -> Result<(), SessionError> {
    let mut greeting = MAGIC.to_vec();
    greeting.extend_from_slice(&PROTOCOL.to_le_bytes());
    channel.write_all(&greeting).await?;
    channel.flush().await?;
    Ok(())
}

async fn await_greeting(channel: &mut (impl AsyncRead + Unpin)) -> Result<(), SessionError> {
    // The magic's first byte does not occur again in it, so a mismatch restarts at most at 1.
    let mut matched = 0;
    while matched < MAGIC.len() {
        let byte = channel.read_u8().await?;
        matched = match byte {
            byte if byte == MAGIC[matched] => matched + 1,
            byte if byte == MAGIC[0] => 1,
            _ => 0,
        };
    }
    match channel.read_u32_le().await? {
        PROTOCOL => Ok(()),
        theirs => Err(SessionError::Version { theirs }),
    }
}

/// The host's handle: opens streams for as long as the session lives. Cheap to clone.
#[derive(Clone)]
pub struct Opener {
    requests: mpsc::Sender<oneshot::Sender<yamux::Stream>>,
    places: Arc<Semaphore>,
}

impl Opener {
    /// One more stream, where there is a place for it. May be dropped while it waits.
    pub async fn open(&self) -> Result<Stream, SessionError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| SessionError::Full)?;
        let (reply, stream) = oneshot::channel();
        self.requests
            .send(reply)
            .await
            .map_err(|_| SessionError::Over)?;
        let stream = stream.await.map_err(|_| SessionError::Over)?;
        Ok(Stream::new(stream, Some(place)))
    }
}

/// Starts the host's side of a session after [`handshake`]. The returned future drives it and must be
/// polled (spawned) until it ends, which is when the channel fails or every [`Opener`] is gone.
pub fn host<C>(channel: C) -> (Opener, impl Future<Output = Result<(), SessionError>>)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let config = config(HOST_STREAMS + LINGERING);
    let mut connection = yamux::Connection::new(channel.compat(), config, yamux::Mode::Client);
    let (requests, mut queue) = mpsc::channel::<oneshot::Sender<yamux::Stream>>(16);
    let drive = async move {
        let mut waiting: Option<oneshot::Sender<yamux::Stream>> = None;
        poll_fn(|cx| drive_host(&mut connection, &mut queue, &mut waiting, cx)).await
    };
    let places = Arc::new(Semaphore::new(HOST_STREAMS));
    (Opener { requests, places }, drive)
}

fn drive_host<C>(
    connection: &mut yamux::Connection<Compat<C>>,
    queue: &mut mpsc::Receiver<oneshot::Sender<yamux::Stream>>,
    waiting: &mut Option<oneshot::Sender<yamux::Stream>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), SessionError>>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        if waiting.is_none() {
            match queue.poll_recv(cx) {
                Poll::Ready(Some(reply)) => *waiting = Some(reply),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
        }
        if open_waiting(connection, waiting, cx)?.is_ready() {
            continue;
        }
        return match connection.poll_next_inbound(cx) {
            // The agent has no business opening streams: drop, which resets it.
            Poll::Ready(Some(Ok(_stream))) => continue,
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(io::Error::other(error).into())),
            Poll::Ready(None) => Poll::Ready(Err(SessionError::Over)),
            // Streams may have gone meanwhile that were in the way of another, which is told to nobody.
            Poll::Pending => match open_waiting(connection, waiting, cx)? {
                Poll::Ready(()) => continue,
                Poll::Pending => Poll::Pending,
            },
        };
    }
}

/// Opens the stream that somebody waits for, if somebody does and the multiplexer lets us.
fn open_waiting<C>(
    connection: &mut yamux::Connection<Compat<C>>,
    waiting: &mut Option<oneshot::Sender<yamux::Stream>>,
    cx: &mut Context<'_>,
) -> Result<Poll<()>, SessionError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    if waiting.as_ref().is_some_and(oneshot::Sender::is_closed) {
        *waiting = None;
        return Ok(Poll::Ready(()));
    }
    if waiting.is_none() {
        return Ok(Poll::Pending);
    }
    let Poll::Ready(opened) = connection.poll_new_outbound(cx) else {
        return Ok(Poll::Pending);
    };
    let stream = opened.map_err(io::Error::other)?;
    if let Some(reply) = waiting.take() {
        // Whoever asked may have gone; the stream is then reset by its drop.
        let _ = reply.send(stream);
    }
    Ok(Poll::Ready(()))
}

/// The agent's side of a session after [`accept_handshake`]: `next` yields streams and drives the session.
pub struct Acceptor<C> {
    connection: yamux::Connection<Compat<C>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Acceptor<C> {
    pub fn new(channel: C) -> Self {
        Self {
            connection: yamux::Connection::new(
                channel.compat(),
                config(AGENT_STREAMS),
                yamux::Mode::Server,
            ),
        }
    }

    /// The next stream; `None` when the session is over. All streams stall unless this is polled.
    pub async fn next(&mut self) -> Option<Stream> {
        let next = poll_fn(|cx| self.connection.poll_next_inbound(cx)).await;
        Some(Stream::new(next?.ok()?, None))
    }
}

fn config(streams: usize) -> yamux::Config {
    let mut config = yamux::Config::default();
    // The one must never be too small for the other, so nothing is set in between.
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(streams);
    config.set_max_connection_receive_window(Some(streams * STREAM_WINDOW + SHARED_WINDOW));
    config
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::{AgentReply, AgentRequest};
    use crate::frame;

    #[tokio::test]
    async fn a_session_starts_after_noise_and_carries_streams() {
        let (mut host_end, mut agent_end) = tokio::io::duplex(1024);
        host_end.write_all(b"left over\0pyro\0").await.unwrap();

        let agent = tokio::spawn(async move {
            accept_handshake(&mut agent_end).await.unwrap();
            let mut acceptor = Acceptor::new(agent_end);
            while let Some(mut stream) = acceptor.next().await {
                tokio::spawn(async move {
                    let request: AgentRequest = frame::read_message(&mut stream).await.unwrap();
                    assert_eq!(request, AgentRequest::Ping);
                    frame::write_message(&mut stream, &AgentReply::Done)
                        .await
                        .unwrap();
                    stream.shutdown().await.unwrap();
                });
            }
        });

        handshake(&mut host_end).await.unwrap();
        let (opener, drive) = host(host_end);
        let driver = tokio::spawn(drive);
        for _ in 0..3 {
            let mut stream = opener.open().await.unwrap();
            frame::write_message(&mut stream, &AgentRequest::Ping)
                .await
                .unwrap();
            let reply: AgentReply = frame::read_message(&mut stream).await.unwrap();
            assert_eq!(reply, AgentReply::Done);
        }
        drop(opener);
        driver.await.unwrap().unwrap();
        tokio::time::timeout(Duration::from_secs(5), agent)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn another_version_is_named() {
        let (mut host_end, mut agent_end) = tokio::io::duplex(64);
        agent_end.write_all(&MAGIC).await.unwrap();
        agent_end.write_u32_le(PROTOCOL + 1).await.unwrap();
        assert!(matches!(
            handshake(&mut host_end).await,
            Err(SessionError::Version { theirs }) if theirs == PROTOCOL + 1
        ));
    }
}
