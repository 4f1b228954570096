//! Lines that skip the multiplexer: connections of whoever asks about files, passed over the channel as
//! descriptors, one beside the bytes of each [`TakeLine`](pyro_wire::agent::AgentRequest::TakeLine).
//!
//! Whole trees travel on them, each byte of which would else be framed and copied once more on both
//! sides of the shim.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use nix::cmsg_space;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tokio::io::{AsyncRead, Interest, Join, ReadBuf};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};

use crate::lock::lock;
use crate::peer::Peer;

/// How many lines may have been passed that nobody has asked to be served yet: more than a shim has
/// clients.
const MOST: usize = 256;

/// Lines that have come and were not taken.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<VecDeque<OwnedFd>>>);

impl Lines {
    /// The one that came first; which of several does not matter to those who ask.
    pub(crate) fn take(&self) -> Option<io::Result<UnixStream>> {
        lock(&self.0).pop_front().map(open)
    }

    pub(crate) fn add(&self, line: OwnedFd) {
        let mut lines = lock(&self.0);
        if lines.len() < MOST {
            lines.push_back(line);
        }
    }
}

/// The channel over which lines come, of a socket that does not block.
pub(crate) fn channel(
    socket: net::UnixStream,
    lines: Lines,
) -> io::Result<Join<LinesReader, OwnedWriteHalf>> {
    let (socket, writer) = UnixStream::from_std(socket)?.into_split();
    Ok(tokio::io::join(LinesReader { socket, lines }, writer))
}

pub(crate) struct LinesReader {
    socket: OwnedReadHalf,
    lines: Lines,
}

impl LinesReader {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut space = cmsg_space!(OwnedFd);
        let mut parts = [IoSliceMut::new(into)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let socket = self.socket.as_ref().as_raw_fd();
        let message = recvmsg::<()>(socket, &mut parts, Some(&mut space), flags)?;
        for passed in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = passed {
                for number in numbers {
                    // SAFETY: the kernel has just made this descriptor, for nobody but us.
                    self.lines.add(unsafe { OwnedFd::from_raw_fd(number) });
                }
            }
        }
        Ok(message.bytes)
    }
}

impl AsyncRead for LinesReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.socket.as_ref();
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            match socket.try_io(Interest::READABLE, || self.receive(room)) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// A connection of whoever asks, ready to be served.
fn open(line: OwnedFd) -> io::Result<UnixStream> {
    // By `fcntl`: `ioctl` is none of the calls that this agent may make.
    let flags = OFlag::from_bits_retain(fcntl(&line, FcntlArg::F_GETFL)?);
    fcntl(&line, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    UnixStream::from_std(line.into())
}

/// A line.
impl Peer for UnixStream {
    /// Who has no more to say and goes on listening is not gone.
    fn is_gone(&self) -> bool {
        let mut asked = [PollFd::new(self.as_fd(), PollFlags::empty())];
        let answered = poll(&mut asked, PollTimeout::ZERO);
        answered.is_ok_and(|count| count > 0)
    }

    /// Nobody asks for that on a line.
    async fn relay(self, _: TcpStream) {}
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use nix::sys::socket::{ControlMessage, sendmsg};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_line_comes_with_the_bytes_and_tells_when_its_other_side_is_gone() {
        let (ours, theirs) = net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let lines = Lines::default();
        let mut channel = super::channel(ours, lines.clone()).unwrap();
        assert!(lines.take().is_none());

        let (client, passed) = net::UnixStream::pair().unwrap();
        let rights = [passed.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&rights)];
        let bytes = [IoSlice::new(b"with it")];
        let flags = MsgFlags::empty();
        sendmsg::<()>(theirs.as_raw_fd(), &bytes, &rights, flags, None).unwrap();
        drop(passed);
        let mut heard = [0; 7];
        channel.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"with it");

        let mut line = lines.take().unwrap().unwrap();
        assert!(lines.take().is_none());
        line.write_all(b"hello").await.unwrap();
        client.set_nonblocking(true).unwrap();
        let mut client = UnixStream::from_std(client).unwrap();
        let mut heard = [0; 5];
        client.read_exact(&mut heard).await.unwrap();
        client.shutdown().await.unwrap();
        assert!(!line.is_gone());
        drop(client);
        assert!(line.is_gone());
    }
}
