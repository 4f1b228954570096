//! The asking side of one stream, in two halves that are used at the same time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use pyro_wire::connection::Connection;
use pyro_wire::session;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::lock::lock;

/// A stream that can tell that its other side is gone before all of its data was read.
pub(crate) trait Peer: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn is_gone(&self) -> bool;

    /// Becomes a connection to a server.
    fn relay(self, server: TcpStream) -> impl Future<Output = ()> + Send;
}

impl Peer for session::Stream {
    fn is_gone(&self) -> bool {
        session::Stream::is_gone(self)
    }

    async fn relay(self, server: TcpStream) {
        Connection::new(server).relay(self).await;
    }
}

/// What tokio's `split` does, with [`Peer::is_gone`] still within reach.
pub(crate) fn split<P: Peer>(peer: P) -> (Reader<P>, Writer<P>) {
    let shared = Arc::new(Mutex::new(peer));
    (Reader(Arc::clone(&shared)), Writer(shared))
}

/// The stream again, of its two halves.
pub(crate) fn unsplit<P>(from: Reader<P>, to: Writer<P>) -> Option<P> {
    drop(to);
    let peer = Arc::into_inner(from.0)?;
    Some(peer.into_inner().unwrap_or_else(PoisonError::into_inner))
}

pub(crate) struct Reader<P>(Arc<Mutex<P>>);

pub(crate) struct Writer<P>(Arc<Mutex<P>>);

impl<P: Peer> Reader<P> {
    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.0).is_gone()
    }
}

impl<P: Peer> AsyncRead for Reader<P> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_read(cx, buffer)
    }
}

impl<P: Peer> AsyncWrite for Writer<P> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *lock(&self.0)).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *lock(&self.0)).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.0).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_shutdown(cx)
    }
}
