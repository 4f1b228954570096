//! The channel of a sandbox: a socket of the host's.
//!
//! gVisor tells that there is something to read in such a socket, but not that its other side has
//! gone. Tokio's own sockets take a read that fills only a part of the buffer for the last for now,
//! trusting that an end would have been told, and would sleep on for ever when data and end came
//! together. Here reading goes on until the system says that there is nothing.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) struct HostSocket(AsyncFd<UnixStream>);

impl HostSocket {
    /// A socket that does not block.
    pub(crate) fn new(socket: UnixStream) -> io::Result<Self> {
        // SAFETY: it is open, and owned by what is registered, which never closes it before.
        let registered = unsafe { AsyncFd::register(socket) };
        Ok(Self(registered.map_err(|error| error.into_parts().1)?))
    }
}

impl AsyncRead for HostSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let read = ready.try_io(|socket| socket.get_ref().read(buffer.initialize_unfilled()));
            if let Ok(read) = read {
                return Poll::Ready(read.map(|count| buffer.advance(count)));
            }
        }
    }
}

impl AsyncWrite for HostSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(written) = ready.try_io(|socket| socket.get_ref().write(data)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_sent_before_the_end_arrives_and_so_does_the_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut socket = HostSocket::new(ours).unwrap();
        socket.write_all(b"to the host").await.unwrap();
        let mut heard = [0; 11];
        theirs.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"to the host");
        theirs.write_all(b"a part of a buffer").unwrap();
        drop(theirs);
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"a part of a buffer");
    }
}
