//! The files of the workspace: listed, read, changed, packed, and compared with a baseline.
//!
//! ```text
//! async:    a stream ──▶ one request ──▶ answers, forwarded as they come ◀─┐ bounded queue
//! blocking: a thread of its own does the work, without a hop for each file ┘
//! ```
//!
//! Everything is reached from a descriptor of the workspace, and no link leads out of it. Names
//! are bytes. What is no file, folder or link is never opened: it may block, or do something.

mod archive;
mod attributes;
mod change;
mod diff;
mod error;
mod export;
mod folder;
mod freeze;
mod hash;
mod index;
mod job;
mod links;
mod list;
mod path;
mod places;
mod read;
mod status;
mod walk;

use pyro_wire::files::{
    Change, ChangeReply, Diff, DiffEvent, Export, ExportEvent, List, ListEvent, Read, ReadEvent,
};
use pyro_wire::frame::{self, FrameError};

pub(crate) use self::change::recover;
pub(crate) use self::freeze::{Freezer, freeze, thaw};
pub(crate) use self::places::Places;

use crate::agent::Agent;
use crate::peer::{Peer, Reader, Writer};

/// How many names of what was left out are given.
const SKIPPED: usize = 1000;

/// A request about files.
pub(crate) enum Request {
    List(List),
    Read(Read),
    Change(Change),
    Export(Export),
    Diff(Diff),
}

/// Serves one stream's request.
pub(crate) async fn serve<P: Peer>(
    agent: &Agent,
    request: Request,
    from: &mut Reader<P>,
    to: &mut Writer<P>,
) -> Result<(), FrameError> {
    if let Err(fault) = agent.ready_for("requests about files") {
        // All events about failures look the same.
        return frame::write_message(to, &ChangeReply::Failed(fault)).await;
    }
    let places = agent.places.clone();
    match request {
        Request::Change(request) => change::run(agent, request, from, to).await,
        Request::List(request) => {
            let work = move |answers: &_| list::list(&places, &request, answers);
            job::run(from, to, work, ListEvent::Failed).await
        }
        Request::Read(request) => {
            let work = move |answers: &_| read::read(&places, &request, answers);
            job::run(from, to, work, ReadEvent::Failed).await
        }
        Request::Export(request) => {
            let work = move |answers: &_| export::export(&places, &request, answers);
            job::run(from, to, work, ExportEvent::Failed).await
        }
        Request::Diff(request) => {
            let changes = agent.changes.clone();
            let work = move |answers: &_| diff::diff(&places, &changes, &request, answers);
            job::run(from, to, work, DiffEvent::Failed).await
        }
    }
}
