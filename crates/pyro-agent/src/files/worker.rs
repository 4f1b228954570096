//! Work on files, which blocks, on a thread of its own. Its replies go to the asking side as fast as
//! that takes them.

use std::time::Duration;

use pyro_wire::fault::Fault;
use pyro_wire::frame::{self, FrameError, Kind};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::files::error::FileError;
use crate::peer::{Peer, Reader, Writer};

/// How many replies the work is ahead of the asking side. Data comes in chunks of up to 256 KiB.
const QUEUE_DEPTH: usize = 8;

/// How often we look whether the asking side is still there while the work says nothing.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(250);

enum Answer<E> {
    Event(E),
    Data(Vec<u8>),
}

/// Where the work puts its replies. Each waits for room in the queue.
pub(crate) struct Replies<E> {
    queue: mpsc::Sender<Answer<E>>,
}

impl<E> Replies<E> {
    pub(crate) fn event(&self, event: E) -> Result<(), FileError> {
        self.put(Answer::Event(event))
    }

    pub(crate) fn data(&self, data: Vec<u8>) -> Result<(), FileError> {
        self.put(Answer::Data(data))
    }

    fn put(&self, answer: Answer<E>) -> Result<(), FileError> {
        self.queue
            .blocking_send(answer)
            .map_err(|_| FileError::Gone)
    }
}

/// Does the work, which ends early once nobody hears its replies any more. What it fails with is
/// the last answer.
pub(crate) async fn run<P, E, W>(
    from: &Reader<P>,
    to: &mut Writer<P>,
    work: W,
    failed: fn(Fault) -> E,
) -> Result<(), FrameError>
where
    P: Peer,
    E: Serialize + Send + 'static,
    W: FnOnce(&Replies<E>) -> Result<(), FileError> + Send + 'static,
{
    let (queue, mut replies) = mpsc::channel(QUEUE_DEPTH);
    tokio::task::spawn_blocking(move || {
        let replies = Replies { queue };
        if let Err(error) = work(&replies) {
            // Nobody may be there to hear it.
            let _ = replies.event(failed(error.fault()));
        }
    });
    loop {
        let answer = tokio::select! {
            answer = replies.recv() => answer,
            () = sleep(LIVENESS_INTERVAL) => {
                if from.is_gone() {
                    return Err(FrameError::Ended);
                }
                continue;
            }
        };
        match answer {
            Some(Answer::Event(event)) => frame::write_message(to, &event).await?,
            Some(Answer::Data(data)) => frame::write_bulk(to, Kind::Output, &data).await?,
            None => return Ok(()),
        }
    }
}
