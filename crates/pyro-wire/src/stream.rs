//! One stream of a session, whose ends of either kind travel.
//!
//! ```text
//! stream = chunk*, then the end, or a reset at any point
//! chunk  = length (two bytes, little endian, not 0), so many bytes
//! end    = length 0: no more comes in this direction; the other one goes on
//! reset  = the multiplexer's own: nobody sends or listens here any more
//! ```
//!
//! The multiplexer has a half-close, too, and it is not used: when a stream is dropped whose sending
//! side was closed before, nothing is sent, and the other side would never hear that nobody listens
//! any more. A stream that is not half-closed for the multiplexer is always reset by its drop. And the
//! multiplexer shows an end and a reset to a reader in the same way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

/// With its header a chunk is as long as what the multiplexer sends in one piece.
const CHUNK: usize = 16 * 1024 - HEADER;

const HEADER: usize = 2;

/// One stream of a session. Shutting it down tells the other side that no more comes; dropping it,
/// that nobody listens any more either, before or after that. What was written and flushed before
/// arrives all the same.
pub struct Stream {
    inner: Compat<yamux::Stream>,
    /// A chunk that the multiplexer had no room for, of which `sent` bytes are gone.
    out: Vec<u8>,
    sent: usize,
    /// We have ended our direction.
    ended: bool,
    heard: Heard,
    _place: Option<OwnedSemaphorePermit>,
}

/// What comes next from the other side.
enum Heard {
    Header { first: Option<u8> },
    Bytes(usize),
    Nothing,
}

impl Stream {
    /// The place is given back when the stream is dropped.
    pub(crate) fn new(inner: yamux::Stream, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            inner: inner.compat(),
            out: Vec::new(),
            sent: 0,
            ended: false,
            heard: Heard::Header { first: None },
            _place: place,
        }
    }

    /// Whether the other side has reset the stream, or the session is over. True at once, also while
    /// there is something left to read.
    pub fn is_gone(&self) -> bool {
        self.inner.get_ref().is_closed()
    }

    /// Ready when [`is_gone`](Self::is_gone). Only after the other side's end somebody is woken for
    /// it; before that reading tells, and whoever does not read has to look.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_gone() {
            return Poll::Ready(());
        }
        match self.heard {
            // Nothing can come any more; what comes nevertheless is nonsense, and as good as a reset.
            Heard::Nothing => self.poll_inner(cx, &mut ReadBuf::new(&mut [0])).map(drop),
            Heard::Header { .. } | Heard::Bytes(_) => Poll::Pending,
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, to)
    }

    /// Hands on what the multiplexer had no room for.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let rest = &self.out[self.sent..];
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn put(&mut self, bytes: &[u8]) {
        // Always below two to the 16th.
        let length = bytes.len() as u16;
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(bytes);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while buffer.remaining() > 0 {
            match self.heard {
                Heard::Nothing => break,
                Heard::Bytes(left) => {
                    let most = left.min(buffer.remaining());
                    let mut room = ReadBuf::new(buffer.initialize_unfilled_to(most));
                    ready!(self.poll_inner(cx, &mut room))?;
                    let count = room.filled().len();
                    if count == 0 {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                    }
                    buffer.advance(count);
                    self.heard = match left - count {
                        0 => Heard::Header { first: None },
                        left => Heard::Bytes(left),
                    };
                    break;
                }
                Heard::Header { first } => {
                    let mut byte = [0];
                    let mut room = ReadBuf::new(&mut byte);
                    ready!(self.poll_inner(cx, &mut room))?;
                    if room.filled().is_empty() {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                    }
                    self.heard = match first {
                        None => Heard::Header {
                            first: Some(byte[0]),
                        },
                        Some(first) => match u16::from_le_bytes([first, byte[0]]) {
                            0 => Heard::Nothing,
                            length => Heard::Bytes(length.into()),
                        },
                    };
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_drain(cx))?;
        let bytes = &bytes[..bytes.len().min(CHUNK)];
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.is_gone() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.put(bytes);
        match self.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What is left goes with the next write or flush.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// The multiplexer's stream stays open: see above.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(self.poll_drain(cx))?;
            self.put(&[]);
            self.ended = true;
        }
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;

    use super::*;
    use crate::session::{self, Acceptor, Opener, SessionError};

    /// Up to so many bytes, drawn all at once: a strategy for each of millions takes most of the test.
    fn piece(most: usize) -> impl Strategy<Value = Vec<u8>> {
        (0..most).prop_perturb(|length, mut random| {
            let mut bytes = vec![0; length];
            random.fill_bytes(&mut bytes);
            bytes
        })
    }

    /// A session: who opens streams, and what comes of them on the other side.
    fn session() -> (Opener, mpsc::UnboundedReceiver<Stream>) {
        let (host, agent) = tokio::io::duplex(64 * 1024);
        let (opener, drive) = session::host(host);
        tokio::spawn(drive);
        let (sender, streams) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut acceptor = Acceptor::new(agent);
            while let Some(stream) = acceptor.next().await {
                let _ = sender.send(stream);
            }
        });
        (opener, streams)
    }

    async fn pair() -> (Stream, Stream, impl Sized) {
        let (opener, mut streams) = session();
        let mut ours = opener.open().await.unwrap();
        ours.write_all(b"?").await.unwrap();
        ours.flush().await.unwrap();
        let mut theirs = streams.recv().await.unwrap();
        assert_eq!(theirs.read_u8().await.unwrap(), b'?');
        (ours, theirs, (opener, streams))
    }

    #[tokio::test]
    async fn an_end_is_no_reset_and_a_reset_is_no_end() {
        for ended in [false, true] {
            let (mut ours, mut theirs, _session) = pair().await;
            ours.write_all(b"words").await.unwrap();
            ours.flush().await.unwrap();
            if ended {
                ours.shutdown().await.unwrap();
                // The other direction goes on.
                theirs.write_all(b"more").await.unwrap();
                theirs.flush().await.unwrap();
                ours.read_exact(&mut [0; 4]).await.unwrap();
            }
            drop(ours);
            let mut heard = Vec::new();
            let end = theirs.read_to_end(&mut heard).await;
            assert_eq!((heard.as_slice(), end.is_ok()), (&b"words"[..], ended));
            poll_fn(|cx| match ended {
                true => theirs.poll_gone(cx),
                false => Poll::Ready(()),
            })
            .await;
            assert!(theirs.is_gone() && theirs.write_all(b"x").await.is_err());
        }
    }

    #[tokio::test]
    async fn one_stream_too_many_is_refused_and_the_session_goes_on() {
        let (opener, mut streams) = session();
        let mut open = Vec::new();
        let refused = loop {
            match opener.open().await {
                Ok(stream) => open.push(stream),
                Err(error) => break error,
            }
            // The multiplexer waits for an answer to the first 256.
            let ours = open.last_mut().unwrap();
            ours.write_all(b"?").await.unwrap();
            ours.flush().await.unwrap();
            let mut theirs = streams.recv().await.unwrap();
            theirs.write_all(b"!").await.unwrap();
            theirs.flush().await.unwrap();
            ours.read_exact(&mut [0]).await.unwrap();
        };
        assert!(matches!(refused, SessionError::Full), "{refused}");
        drop(open);
        for _ in 0..5000 {
            let mut stream = opener.open().await.unwrap();
            stream.write_all(b"?").await.unwrap();
            stream.shutdown().await.unwrap();
        }
        let mut last = None;
        while let Ok(stream) = streams.try_recv() {
            last = Some(stream);
        }
        assert!(last.is_some());
    }

    proptest! {
        #[test]
        fn bytes_arrive_as_sent_however_they_are_cut(
            pieces in prop::collection::vec(piece(40_000), 0..12),
            room in 1..20_000usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let sent = pieces.concat();
            let heard = runtime.block_on(async move {
                let (mut ours, mut theirs, session) = pair().await;
                let writing = tokio::spawn(async move {
                    for piece in pieces {
                        ours.write_all(&piece).await.unwrap();
                    }
                    ours.shutdown().await.unwrap();
                    ours
                });
                let (mut heard, mut buffer) = (Vec::new(), vec![0; room]);
                loop {
                    match theirs.read(&mut buffer).await.unwrap() {
                        0 => break,
                        count => heard.extend_from_slice(&buffer[..count]),
                    }
                }
                drop((writing.await.unwrap(), session));
                heard
            });
            prop_assert!(heard == sent);
        }
    }
}
