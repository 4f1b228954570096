//! The channel itself: a guest that greets as it should and then sends what it likes, while the
//! host opens streams and reads from them.

use std::pin::Pin;
use std::task::{Context, Poll};

use pyro_wire::agent::AgentReply;
use pyro_wire::frame::Kind;
use pyro_wire::{frame, session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{data, message};
use crate::seeds::{Seed, SeedError};
use crate::{Target, settle};

pub(crate) const TARGET: Target = Target {
    name: "session",
    play,
    seeds,
    mend: |_| {},
    inputs: 40_000,
};

/// Hands out what the guest sent and swallows what the host writes. It lets the host act between two
/// pieces.
struct Channel<'a> {
    unread: &'a [u8],
    paused: bool,
}

impl AsyncRead for Channel<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.paused = !self.paused;
        if self.paused {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (now, later) = self.unread.split_at(self.unread.len().min(to.remaining()));
        to.put_slice(now);
        self.unread = later;
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

fn play(bytes: &[u8]) -> bool {
    let (opener, drive) = session::host(Channel {
        unread: bytes,
        paused: false,
    });
    let mut frames = 0;
    let ask = async {
        // Dropped when there is nothing more to ask.
        let opener = opener;
        while let Ok(mut stream) = opener.open().await {
            while let Ok(Some(_)) = frame::read(&mut stream).await {
                frames += 1;
            }
        }
    };
    // A session that waits for more is fine; one that never lets go of the thread is not.
    settle::settle(async { tokio::join!(ask, drive) });
    frames > 0
}

/// Of three streams that the host opens one after the other, and with what an agent has no business to send.
fn seeds() -> Result<Vec<Seed>, SeedError> {
    let answer = [message(&AgentReply::Done), data(Kind::Output, &[b'x'; 600])].concat();
    let end: &[u8] = &[0, 0];
    let one = [
        window(ACK, 1, 0),
        sent(0, 1, &chunk(&answer)),
        sent(0, 1, end),
    ];
    let streams = [
        one.concat(),
        ping(SYN, 7),
        sent(ACK, 3, &[chunk(&answer[..9]), chunk(&answer[9..])].concat()),
        sent(RST, 3, &[]),
        window(ACK, 5, 300),
        sent(FIN, 5, &chunk(&answer)),
        go_away(),
    ];
    let strange = [
        window(SYN, 2, 0),
        sent(0, 2, b"from nobody"),
        ping(ACK, 1),
        one.concat(),
    ];
    Ok(vec![
        Seed::new("streams", streams.concat()),
        Seed::new("strange", strange.concat()),
    ])
}

/// What a stream sends at once.
fn chunk(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short piece");
    [&length.to_le_bytes(), bytes].concat()
}

const SYN: u16 = 1;
const ACK: u16 = 2;
const FIN: u16 = 4;
const RST: u16 = 8;

/// The multiplexer's, which does not make them public:
/// <https://github.com/hashicorp/yamux/blob/master/spec.md>
fn header(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut header = vec![0, kind];
    header.extend(flags.to_be_bytes());
    header.extend(stream.to_be_bytes());
    header.extend(length.to_be_bytes());
    header
}

fn sent(flags: u16, stream: u32, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short piece");
    [header(0, flags, stream, length), bytes.to_vec()].concat()
}

fn window(flags: u16, stream: u32, credit: u32) -> Vec<u8> {
    header(1, flags, stream, credit)
}

fn ping(flags: u16, number: u32) -> Vec<u8> {
    header(2, flags, 0, number)
}

fn go_away() -> Vec<u8> {
    header(3, 0, 0, 0)
}
