//! A client's connection to the agent: bytes both ways, until one side is done.

use std::io;
use std::os::fd::AsFd;

use tokio::io::{Interest, copy_bidirectional_with_sizes};
use tokio::net::UnixStream;

use crate::backend::Line;
use crate::descriptor::watch;

const BUFFER: usize = 64 * 1024;

/// Copies until both directions have ended, or the client is gone.
///
/// A client that has no more to say shuts its side down and goes on listening; one that closes
/// the connection is gone, and nothing is read on its behalf any more. Then the stream is dropped,
/// by which the agent learns to end what it was running.
///
/// Where there is a passage to the agent, the client's connection itself is given to it, and nothing
/// is copied here.
pub(crate) async fn run(mut client: UnixStream, mut line: Line) -> io::Result<()> {
    if let Some(passage) = line.passage.take() {
        return passage.hand_over(client, line.stream).await;
    }
    let closed = closed(&client)?;
    let copied = copy_bidirectional_with_sizes(&mut client, &mut line.stream, BUFFER, BUFFER);
    tokio::select! {
        copied = copied => copied.map(drop),
        () = closed => Ok(()),
    }
}

/// Resolves when the client closed its end. Reading cannot tell that from a mere half-close, and
/// with back-pressure nobody reads; the kernel reports it (`EPOLLHUP`) to whoever watches.
pub(crate) fn closed(client: &UnixStream) -> io::Result<impl Future<Output = ()> + use<>> {
    let watched = client.as_fd().try_clone_to_owned()?;
    // Urgent data, which a unix socket never has, is the interest that leaves only the hang-up.
    let watched = watch(watched, Interest::PRIORITY)?;
    Ok(async move {
        // An error means that the runtime is going, and the bridge with it.
        let _ = watched.ready(Interest::PRIORITY).await;
    })
}
