//! Carries a command's output to the asking side as it comes: byte for byte but for the values of
//! secrets, and no faster than that side takes it.

use std::io;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use pyro_wire::frame::{self, DATA_CHUNK, FrameError, Kind};
use pyro_wire::redaction::Redactor;
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe;
use tokio::sync::Notify;

use crate::secrets::Secrets;

/// Both outputs of a command.
pub(crate) struct Outputs {
    sources: [Source; 2],
}

struct Source {
    /// `None` after its end.
    pipe: Option<pipe::Receiver>,
    kind: Kind,
    redactor: Redactor,
}

impl Outputs {
    pub(crate) fn new(stdout: pipe::Receiver, stderr: pipe::Receiver, secrets: &Secrets) -> Self {
        let source = |pipe, kind| Source {
            pipe: Some(pipe),
            kind,
            redactor: secrets.redactor(),
        };
        Self {
            sources: [
                source(stdout, Kind::Output),
                source(stderr, Kind::ErrorOutput),
            ],
        }
    }

    /// Forwards until both outputs have ended, or until `exited` is notified: then what the
    /// command itself wrote is in the pipes, and whoever else holds them is not waited for.
    pub(crate) async fn forward(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        exited: &Notify,
    ) -> Result<(), FrameError> {
        let mut buffer = vec![0; DATA_CHUNK];
        let [first, second] = &mut self.sources;
        while first.pipe.is_some() || second.pipe.is_some() {
            tokio::select! {
                () = first.ready(), if first.pipe.is_some() => {
                    first.forward_once(&mut buffer, to).await?;
                }
                () = second.ready(), if second.pipe.is_some() => {
                    second.forward_once(&mut buffer, to).await?;
                }
                () = exited.notified() => {
                    first.forward_rest(&mut buffer, to).await?;
                    second.forward_rest(&mut buffer, to).await?;
                    break;
                }
            }
        }
        first.end(to).await?;
        second.end(to).await
    }

    /// Goes on reading, for nobody, what processes that live on write: closing the pipes would
    /// kill a daemon at its first word.
    pub(crate) fn discard(self) {
        for pipe in self.sources.into_iter().filter_map(|source| source.pipe) {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while pipe.readable().await.is_ok() {
                    match pipe.try_read(&mut buffer) {
                        Ok(0) => return,
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(_) => return,
                    }
                }
            });
        }
    }
}

impl Source {
    async fn ready(&self) {
        if let Some(pipe) = &self.pipe {
            // An error shows again when the pipe is read.
            let _ = pipe.readable().await;
        }
    }

    async fn forward_once(
        &mut self,
        buffer: &mut [u8],
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), FrameError> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        match pipe.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(0) | Err(_) => {
                self.pipe = None;
                self.end(to).await
            }
            Ok(count) => self.send(&buffer[..count], to).await,
        }
    }

    async fn send(
        &mut self,
        bytes: &[u8],
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), FrameError> {
        let clean = self.redactor.push(bytes);
        frame::write_data(to, self.kind, &clean).await
    }

    /// Sends what might have become the value of a secret and did not.
    async fn end(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> Result<(), FrameError> {
        let rest = self.redactor.finish();
        frame::write_data(to, self.kind, &rest).await
    }

    /// Forwards what is in the pipe right now. A daemon may fill it for ever, so the pipe's size
    /// is the limit.
    async fn forward_rest(
        &mut self,
        buffer: &mut [u8],
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), FrameError> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        let mut left = capacity(pipe);
        while left > 0 {
            let limit = left.min(buffer.len());
            // Not `try_read`: it believes what the runtime last heard of the pipe, and the
            // runtime may not have heard yet of the last bytes.
            match nix::unistd::read(pipe, &mut buffer[..limit]) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Ok(0) | Err(_) => {
                    self.pipe = None;
                    return Ok(());
                }
                Ok(count) => {
                    left -= count;
                    let clean = self.redactor.push(&buffer[..count]);
                    frame::write_data(to, self.kind, &clean).await?;
                }
            }
        }
        Ok(())
    }
}

fn capacity(pipe: &pipe::Receiver) -> usize {
    fcntl(pipe, FcntlArg::F_GETPIPE_SZ)
        .ok()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(DATA_CHUNK)
}
