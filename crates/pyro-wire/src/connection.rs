//! A TCP connection that travels over a stream: one end at a client of the host, in the shim; the
//! other at a server of the guest, in the agent. Both ends run this.
//!
//! | one side | hears the other side as |
//! |---|---|
//! | has no more to say (FIN) | the same; the other direction goes on |
//! | breaks off (RST), dies, or is not there any more | a reset, after what was sent before it |
//!
//! Who closes a connection looks like who has no more to say, until something is sent there, or until
//! keep-alive asks. Both ends are asked, so a connection that nobody has any more is found out however
//! it went.

use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::stream::Stream;

const BUFFER: usize = 32 * 1024;

/// How often we look at a side that can tell us nothing, since its bytes are not taken.
const LOOK: Duration = Duration::from_secs(1);

/// When keep-alive asks first, how often it asks then, and how often in vain.
const KEEP_ALIVE: (u32, u32, u32) = (60, 10, 6);

/// Has the kernel find out when the other side of a quiet connection is not there any more.
pub fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    let (idle, interval, count) = KEEP_ALIVE;
    setsockopt(socket, sockopt::TcpKeepIdle, &idle)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &interval)?;
    setsockopt(socket, sockopt::TcpKeepCount, &count)?;
    Ok(setsockopt(socket, sockopt::KeepAlive, &true)?)
}

/// One end of a connection. Dropping it breaks it off, so that the other side does not take what it
/// has heard for everything.
pub struct Connection {
    socket: TcpStream,
    is_over: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.socket.set_zero_linger();
        }
    }
}

impl Connection {
    pub fn new(socket: TcpStream) -> Self {
        // Small pieces have waited for company on the other side, if they had to.
        let _ = socket.set_nodelay(true);
        let _ = keep_alive(&socket);
        Self {
            socket,
            is_over: false,
        }
    }

    /// Resolves when the connection has been broken off, or nobody is there any more.
    pub async fn broken(&self) {
        broken(&self.socket).await;
    }

    /// Carries bytes both ways until both have ended, or one side is gone.
    pub async fn relay(mut self, mut stream: Stream) {
        let socket = &self.socket;
        let (mut outward, mut inward) = (Way::new(), Way::new());
        let mut broken = pin!(broken(socket));
        let mut look = pin!(sleep(LOOK));
        let (mut socket_gone, mut stream_gone) = (false, false);
        let mut moved_before = u64::MAX;
        self.is_over = poll_fn(|cx| {
            // What was sent before a side went still comes, and is still taken.
            let whole = !socket_gone;
            match outward.poll(cx, &mut Socket(socket), &mut stream, whole) {
                Poll::Ready(Err(Failed::ToRead)) => return Poll::Ready(false),
                Poll::Ready(Err(Failed::ToWrite)) => stream_gone = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            match inward.poll(cx, &mut stream, &mut Socket(socket), true) {
                Poll::Ready(Err(Failed::ToRead)) => return Poll::Ready(false),
                Poll::Ready(Err(Failed::ToWrite)) => socket_gone = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if matches!((&outward.state, &inward.state), (State::Over, State::Over)) {
                return Poll::Ready(true);
            }
            socket_gone = socket_gone || broken.as_mut().poll(cx).is_ready();
            stream_gone = stream_gone || stream.poll_gone(cx).is_ready();
            if (socket_gone && outward.is_done()) || (stream_gone && inward.is_done()) {
                return Poll::Ready(false);
            }
            // A side that takes nothing may have gone without a word, or never take what is left.
            if socket_gone || stream_gone || inward.is_stuck() {
                while look.as_mut().poll(cx).is_ready() {
                    look.as_mut().reset(Instant::now() + LOOK);
                    let moved = outward.moved + inward.moved;
                    if (socket_gone || stream_gone) && moved == moved_before {
                        return Poll::Ready(false);
                    }
                    moved_before = moved;
                    stream_gone = stream_gone || stream.is_gone();
                }
            }
            Poll::Pending
        })
        .await;
    }
}

/// Resolves when a connection has been broken off.
async fn broken(socket: &TcpStream) {
    let _ = socket.ready(Interest::ERROR).await;
    // gVisor (2024) calls it an error, too, when both sides have no more to say, while what was said
    // is not read yet. Nothing can be broken off then.
    if matches!(socket.take_error(), Ok(None)) {
        pending().await
    }
}

/// One direction.
struct Way {
    buffer: Box<[u8]>,
    /// What was read and is not written yet.
    start: usize,
    end: usize,
    moved: u64,
    state: State,
}

enum State {
    Open,
    /// The end was read, and is not written yet.
    Ending,
    Over,
    Failed,
}

enum Failed {
    ToRead,
    ToWrite,
}

impl Way {
    fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            moved: 0,
            state: State::Open,
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.state, State::Over | State::Failed)
    }

    fn is_stuck(&self) -> bool {
        self.start < self.end
    }

    /// Moves what can be moved. `whole`: an end that is read is one, and not what a lost connection
    /// looks like.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        whole: bool,
    ) -> Poll<Result<(), Failed>> {
        if self.is_done() {
            return Poll::Pending;
        }
        let polled = self.poll_open(cx, from, to, whole);
        if let Poll::Ready(Err(_)) = polled {
            self.state = State::Failed;
        }
        polled
    }

    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        whole: bool,
    ) -> Poll<Result<(), Failed>> {
        let cannot_write = |_| Failed::ToWrite;
        loop {
            while self.start < self.end {
                let rest = &self.buffer[self.start..self.end];
                match ready!(Pin::new(&mut *to).poll_write(cx, rest)).map_err(cannot_write)? {
                    0 => return Poll::Ready(Err(Failed::ToWrite)),
                    count => {
                        self.start += count;
                        self.moved += count as u64;
                    }
                }
            }
            if matches!(self.state, State::Ending) {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(cannot_write)?;
                self.state = State::Over;
                return Poll::Ready(Ok(()));
            }
            let mut room = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut *from).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) => {
                    (self.start, self.end) = (0, room.filled().len());
                    if self.end == 0 && !whole {
                        return Poll::Ready(Err(Failed::ToRead));
                    }
                    if self.end == 0 {
                        self.state = State::Ending;
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failed::ToRead)),
                Poll::Pending => {
                    ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(cannot_write)?;
                    return Poll::Pending;
                }
            }
        }
    }
}

/// A socket that both directions use, and that is waited for besides.
struct Socket<'a>(&'a TcpStream);

impl AsyncRead for Socket<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(to.initialize_unfilled()) {
                Ok(count) => {
                    to.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(self.0.as_raw_fd(), Shutdown::Write).map_err(Into::into))
    }
}
