//! The virtio-serial port to the host, as a stream that waits properly.
//!
//! Such a port is no socket. While no host is connected, reading gives 0 bytes instead of
//! waiting, writing gives `EAGAIN`, and polling reports a hang-up that goes away again when a
//! host comes. Tokio takes a hang-up for final and would report the port as ready for ever after,
//! so it never sees the port itself: it watches an inner epoll instance, which is merely readable
//! whenever *something changed*. Everything else follows from trying again.

use std::fs::{self, File, OpenOptions};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::{Instant, sleep};

/// The name that the host gave the port.
const NAME: &str = "pyro.agent";
const PORTS: &str = "/sys/class/virtio-ports";

#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("there is no virtio port {NAME}; {PORTS} holds: {found}")]
    Missing { found: String },
    #[error("cannot open the port {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
}

pub(crate) struct Port {
    file: File,
    changes: AsyncFd<Inner>,
    /// Who reads, and who writes, and waits for the port to change. The one that notices a
    /// change uses it up, so it must wake the other.
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Port {
    /// Waits for the port to appear and opens it.
    pub(crate) async fn open(limit: Duration) -> Result<Self, PortError> {
        let deadline = Instant::now() + limit;
        loop {
            let ports = list();
            if let Some((device, _)) = ports.iter().find(|(_, name)| name == NAME) {
                let path = PathBuf::from("/dev").join(device);
                match Self::open_device(&path) {
                    Ok(port) => return Ok(port),
                    // The port may be listed a moment before its device file is there.
                    Err(source) if Instant::now() > deadline => {
                        return Err(PortError::Open { path, source });
                    }
                    Err(_) => {}
                }
            } else if Instant::now() > deadline {
                let names: Vec<_> = ports.into_iter().map(|(_, name)| name).collect();
                let found = match names.as_slice() {
                    [] => "nothing".into(),
                    names => names.join(", "),
                };
                return Err(PortError::Missing { found });
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn open_device(path: &PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        let inner = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        inner.add(&file, EpollEvent::new(flags, 0))?;
        // SAFETY: the descriptor that `Inner` gives is its own and stays open as long as it lives.
        let changes = unsafe { AsyncFd::register_with_interest(Inner(inner), Interest::READABLE) }?;
        Ok(Self {
            file,
            changes,
            reader: None,
            writer: None,
        })
    }

    /// Waits until something about the port changed: a host came or went, or moved data.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_changed(cx)).await
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = ready!(self.changes.poll_read_ready(cx))?;
        let mut events = [EpollEvent::empty()];
        guard.get_inner().0.wait(&mut events, EpollTimeout::ZERO)?;
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Port {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.file.read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    self.reader = None;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.reader = Some(cx.waker().clone());
                    ready!(self.poll_changed(cx))?;
                    if let Some(writer) = self.writer.take() {
                        writer.wake();
                    }
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.file.write(data) {
                Ok(count) => {
                    self.writer = None;
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writer = Some(cx.waker().clone());
                    ready!(self.poll_changed(cx))?;
                    if let Some(reader) = self.reader.take() {
                        reader.wake();
                    }
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// A port stays open for the next host.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Device file and name of each port.
fn list() -> Vec<(std::ffi::OsString, String)> {
    let Ok(entries) = fs::read_dir(PORTS) else {
        // The folder appears with the module.
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = fs::read_to_string(entry.path().join("name")).ok()?;
            Some((entry.file_name(), name.trim_end().to_owned()))
        })
        .collect()
}

struct Inner(Epoll);

impl AsRawFd for Inner {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}
