//! The channel to an agent that serves files, over which the connections of those who ask are passed to it
//! as descriptors. What they say to each other then crosses neither this process nor the multiplexer.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};
use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::frame::{self, BULK_CHUNK};
use pyro_wire::session::Stream;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// How much the system holds of what a client has not taken.
const SEND_BUFFER: usize = 4 * BULK_CHUNK;

/// What waits to go with the next bytes.
#[derive(Clone, Default)]
pub(crate) struct Passage(Arc<Mutex<VecDeque<OwnedFd>>>);

impl Passage {
    /// Gives a client's connection to the agent, and returns when the agent is done with it. Where the
    /// agent is gone, so is the connection.
    pub(crate) async fn hand_over(&self, client: UnixStream, mut stream: Stream) -> io::Result<()> {
        // A wish: some chunks more on their way. The agent may not say so itself.
        let _ = setsockopt(&client, sockopt::SndBuf, &SEND_BUFFER);
        let client = OwnedFd::from(client.into_std()?);
        self.waiting().push_back(client);
        let failed = io::Error::other;
        frame::write_message(&mut stream, &AgentRequest::TakeLine)
            .await
            .map_err(failed)?;
        let _: AgentReply = frame::read_message(&mut stream).await.map_err(failed)?;
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent's channel.
pub(super) struct PassingChannel {
    socket: UnixStream,
    passage: Passage,
}

impl PassingChannel {
    pub(super) fn new(socket: UnixStream) -> Self {
        let passage = Passage::default();
        Self { socket, passage }
    }

    pub(super) fn passage(&self) -> Passage {
        self.passage.clone()
    }

    fn send(&self, data: &[u8]) -> io::Result<usize> {
        let mut waiting = self.passage.waiting();
        let numbers: Vec<_> = waiting
            .front()
            .map(AsRawFd::as_raw_fd)
            .into_iter()
            .collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let rights = if numbers.is_empty() { &[][..] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL;
        let data = [IoSlice::new(data)];
        let sent = sendmsg::<()>(self.socket.as_raw_fd(), &data, rights, flags, None)?;
        // The agent has its own by now.
        waiting.pop_front();
        Ok(sent)
    }
}

impl AsyncRead for PassingChannel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PassingChannel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            match (self.socket).try_io(Interest::WRITABLE, || self.send(data)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IoSliceMut, Read, Write};
    use std::os::fd::FromRawFd;
    use std::os::unix::net::UnixStream as StdUnixStream;

    use nix::cmsg_space;
    use nix::sys::socket::{ControlMessageOwned, recvmsg};
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What came, and the connections that came with it.
    fn receive(socket: &StdUnixStream) -> (Vec<u8>, Vec<StdUnixStream>) {
        let (mut bytes, mut space) = ([0; 64], cmsg_space!(OwnedFd));
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let (socket, flags) = (socket.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
        let message = recvmsg::<()>(socket, &mut parts, Some(&mut space), flags).unwrap();
        let mut passed = Vec::new();
        for one in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(numbers) = one {
                // SAFETY: the kernel has just made them for us.
                passed.extend(
                    numbers
                        .iter()
                        .map(|&number| unsafe { StdUnixStream::from_raw_fd(number) }),
                );
            }
        }
        let count = message.bytes;
        (bytes[..count].to_vec(), passed)
    }

    #[tokio::test]
    async fn each_connection_goes_once_with_the_next_bytes() {
        let (ours, agent) = StdUnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut channel = PassingChannel::new(UnixStream::from_std(ours).unwrap());
        let (mut client, passed) = StdUnixStream::pair().unwrap();
        channel.write_all(b"before").await.unwrap();
        let (bytes, none) = receive(&agent);
        assert_eq!((bytes.as_slice(), none.len()), (&b"before"[..], 0));
        channel.passage().waiting().push_back(passed.into());
        channel.write_all(b"with").await.unwrap();
        channel.write_all(b"after").await.unwrap();

        let (bytes, mut passed) = receive(&agent);
        assert!(bytes.starts_with(b"with"));
        let mut passed = passed.pop().unwrap();
        passed.write_all(b"hello").unwrap();
        // Nobody else has it.
        drop(passed);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"hello");
    }
}
