//! Buffers in front of the byte pipe to the host, which hosts take turns to use.
//!
//! Writes are collected until a flush, since on a virtio port each one makes the guest exit to
//! its VMM. Reads keep the last bytes that were handed out: when a host goes away and another
//! comes so fast that nobody saw the gap (or the guest was frozen in between), the new host's
//! greeting is swallowed by the old session, which fails on it. [`Channel::end_session`] then
//! gives it back, so that the greeting is answered after all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As much as a virtio port takes in one write.
const OUTPUT: usize = 32 * 1024;
const INPUT: usize = 32 * 1024;

/// The length of a greeting, and of a frame header of a session.
const KEPT: usize = 12;

pub(crate) struct Channel<T> {
    inner: T,
    /// `kept..start` was handed out in this session, `start..end` is to be handed out.
    input: Box<[u8]>,
    kept: usize,
    start: usize,
    end: usize,
    /// The other side ended; what is buffered is the last of it.
    ended: bool,
    output: Vec<u8>,
    /// How much of `output` is written already.
    written: usize,
}

impl<T> Channel<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self {
            inner,
            input: vec![0; INPUT].into_boxed_slice(),
            kept: 0,
            start: 0,
            end: 0,
            ended: false,
            output: Vec::with_capacity(OUTPUT),
            written: 0,
        }
    }

    pub(crate) fn inner_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Says that a greeting was answered: what was read until now will not be given back.
    pub(crate) fn start_session(&mut self) {
        self.kept = self.start;
        self.ended = false;
    }

    /// Forgets what an ended session left, but gives back what may be a new host's greeting.
    pub(crate) fn end_session(&mut self) {
        self.output.clear();
        self.written = 0;
        if self.ended {
            self.kept = 0;
            self.start = 0;
            self.end = 0;
        } else {
            self.start = self.kept.max(self.start.saturating_sub(KEPT));
            self.kept = self.start;
        }
        self.ended = false;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Channel<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.start == this.end {
            let from = this.kept.max(this.start.saturating_sub(KEPT));
            this.input.copy_within(from..this.start, 0);
            this.kept = 0;
            this.start -= from;
            this.end = this.start;
            let mut fresh = ReadBuf::new(&mut this.input[this.end..]);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut fresh))?;
            let count = fresh.filled().len();
            this.end += count;
            this.ended = count == 0;
        }
        let count = buffer.remaining().min(this.end - this.start);
        buffer.put_slice(&this.input[this.start..this.start + count]);
        this.start += count;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Channel<T> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.output.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Channel<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.output.len() >= OUTPUT {
            ready!(self.poll_drain(cx))?;
        }
        let count = data.len().min(OUTPUT - self.output.len());
        self.output.extend_from_slice(&data[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_greeting_that_an_old_session_swallowed_is_given_back() {
        let (mut host, agent) = tokio::io::duplex(1024);
        let mut channel = Channel::new(agent);
        host.write_all(b"first greeting, then frames, 123456789012rest")
            .await
            .unwrap();
        let mut read = [0; 15];
        channel.read_exact(&mut read).await.unwrap();
        channel.start_session();
        let mut read = [0; 26];
        channel.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b" then frames, 123456789012");
        channel.end_session();

        let mut again = [0; 16];
        channel.read_exact(&mut again).await.unwrap();
        assert_eq!(&again, b"123456789012rest");
    }

    #[tokio::test]
    async fn the_greeting_of_a_session_itself_is_never_given_back() {
        let (mut host, agent) = tokio::io::duplex(1024);
        let mut channel = Channel::new(agent);
        host.write_all(b"123456789012").await.unwrap();
        let mut read = [0; 12];
        channel.read_exact(&mut read).await.unwrap();
        channel.start_session();
        host.write_all(b"xy").await.unwrap();
        channel.read_exact(&mut read[..2]).await.unwrap();
        channel.end_session();
        host.write_all(b"z").await.unwrap();
        channel.read_exact(&mut read[..3]).await.unwrap();
        assert_eq!(&read[..3], b"xyz");
    }

    #[tokio::test]
    async fn nothing_is_given_back_after_an_end() {
        let (mut host, agent) = tokio::io::duplex(1024);
        let mut channel = Channel::new(agent);
        channel.start_session();
        host.write_all(b"data").await.unwrap();
        drop(host);
        let mut all = Vec::new();
        channel.read_to_end(&mut all).await.unwrap();
        channel.end_session();
        assert_eq!(channel.read(&mut [0; 4]).await.unwrap(), 0);
    }
}
