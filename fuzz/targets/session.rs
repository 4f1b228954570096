//! The channel itself: a guest that greets as it should and then sends what it likes, while the
//! host opens streams and reads from them.

#![no_main]

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pyro_wire::{frame, session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Builder;
use tokio::time::timeout;

/// Hands out what the guest sent and swallows what the host writes.
struct Channel<'a>(&'a [u8]);

impl AsyncRead for Channel<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(to.remaining()));
        to.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Channel<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (opener, drive) = session::host(Channel(bytes));
        let ask = async {
            while let Ok(mut stream) = opener.open().await {
                if !matches!(frame::read(&mut stream).await, Ok(Some(_))) {
                    break;
                }
            }
        };
        let both = async { tokio::select! { _ = drive => {}, () = ask => {} } };
        // A session that waits for more is fine; one that never lets go of the thread is not.
        let _ = timeout(Duration::from_millis(20), both).await;
    });
});
