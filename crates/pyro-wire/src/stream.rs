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
