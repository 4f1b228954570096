//! What the asking side sends while a command runs: input for it, signals, and its own end.
//!
//! A command that does not read its input stops the input, and in the end the sender, but nothing
//! else: some of it is read ahead, so that a signal or a wish to end behind it still arrives.

use std::pin::pin;
use std::time::Duration;

use pyro_wire::exec::ExecControl;
use pyro_wire::frame::{self, Kind};
use pyro_wire::jobs::READ_AHEAD;
use tokio::io::{AsyncWriteExt, BufReader, DuplexStream, copy_buf, duplex, sink};
use tokio::net::unix::pipe;
use tokio::time::sleep;

use crate::peer::{Peer, Reader};

/// How much goes to the command at once.
const PIECE: usize = 64 * 1024;

/// How often we look for the asking side while it must wait to be read.
const STALLED: Duration = Duration::from_millis(250);

/// Carries input to a command, and hands on what else is wanted of it. Ends when the asking side is
/// gone.
pub(crate) async fn follow<P: Peer>(
    from: &mut Reader<P>,
    stdin: Option<pipe::Sender>,
    control: impl Fn(ExecControl),
) {
    let (ahead, queue) = duplex(READ_AHEAD);
    let mut queue = stdin.is_some().then_some(queue);
    let read = async {
        // After a frame that cannot be read nothing that follows can be trusted either.
        while let Ok(Some(frame)) = frame::read(from).await {
            match frame.kind {
                Kind::Input => {
                    if let Some(queue) = &mut queue
                        && !put(queue, &frame.body, from).await
                    {
                        return;
                    }
                }
                // A message of a newer host that says something unknown is passed over.
                Kind::Message => match frame.message() {
                    Ok(ExecControl::InputEnd) => queue = None,
                    Ok(other) => control(other),
                    Err(_) => {}
                },
                // Nobody sends output to a command.
                Kind::Output | Kind::ErrorOutput => {}
            }
        }
    };
    // The command may end its input, but never the reading of control messages.
    let feed = async {
        if let Some(stdin) = stdin {
            feed(stdin, ahead).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = read => {}
        () = feed => {}
    }
}

/// Queues what came, however long that takes; says `false` when the asking side is gone.
async fn put<P: Peer>(queue: &mut DuplexStream, chunk: &[u8], from: &Reader<P>) -> bool {
    let mut queued = pin!(queue.write_all(chunk));
    loop {
        tokio::select! {
            _ = &mut queued => return true,
            // Its end cannot be read, as unread data is in front of it.
            () = sleep(STALLED) => if from.is_gone() {
                return false;
            }
        }
    }
}

async fn feed(mut stdin: pipe::Sender, ahead: DuplexStream) {
    let mut ahead = BufReader::with_capacity(PIECE, ahead);
    if copy_buf(&mut ahead, &mut stdin).await.is_err() {
        // A command need not read to the end, as `head` shows. The rest is for nobody.
        drop(stdin);
        let _ = copy_buf(&mut ahead, &mut sink()).await;
    }
}
