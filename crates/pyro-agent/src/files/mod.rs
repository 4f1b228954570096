//! The files of the workspace: listed, read, changed, packed, and compared with a baseline.
//!
//! ```text
//! async:    a stream ──▶ one request ──▶ replies, forwarded as they come ◀─┐ bounded queue
//! blocking: a thread of its own does the work, without a hop for each file ┘
//! ```
//!
//! Everything is reached from a descriptor of the workspace, and no link leads out of it. Names
//! are bytes. What is no file, folder or link is never opened: it may block, or do something.

mod archive;
mod attributes;
mod change;
mod change_lock;
mod diff;
mod display;
mod error;
mod export;
mod folder;
mod freeze;
mod hash;
mod index;
mod inside;
pub(crate) mod layout;
mod links;
mod list;
mod path;
mod place;
mod read;
mod status;
mod walk;
mod worker;

use std::time::Duration;

use pyro_wire::agent::Freeze;
use pyro_wire::fault::Fault;
use pyro_wire::files::{
    Change, ChangeReply, Diff, DiffEvent, Export, ExportEvent, List, ListEvent, Place, Read,
    ReadEvent,
};
use pyro_wire::frame::{self, FrameError};
use tokio::sync::OwnedMutexGuard;

use self::change_lock::ChangeLock;
use self::error::FileError;
use self::freeze::Freezer;
use self::layout::Layout;
use crate::backend::Backend;
use crate::lifecycle::Lifecycle;
use crate::peer::{Peer, Reader, Writer};
use crate::standstill::Starts;

/// The workspace, and what holds changes of it back.
pub(crate) struct Files {
    backend: Backend,
    layout: Layout,
    changes: ChangeLock,
    freezer: Freezer,
}

/// A request about files.
pub(crate) enum Request {
    List(List),
    Read(Read),
    Change(Change),
    Place(Place),
    Export(Export),
    Diff(Diff),
}

impl Files {
    pub(crate) fn new(backend: &Backend) -> Self {
        Self {
            backend: backend.clone(),
            layout: Layout::new(backend),
            changes: ChangeLock::default(),
            freezer: Freezer::default(),
        }
    }

    /// Finishes or undoes the change that a crash has broken off.
    pub(crate) fn recover(&self) -> Result<(), FileError> {
        change::recover(&self.layout)
    }

    /// Writes everything to the disk and holds further writes back.
    pub(crate) async fn freeze(&self, starts: &Starts, request: &Freeze) -> Result<(), Fault> {
        freeze::freeze(&self.freezer, &self.changes, &self.layout, starts, request).await
    }

    /// Holds further writes back for as long again.
    pub(crate) async fn stay_frozen(&self, request: &Freeze) -> Result<(), Fault> {
        freeze::stay_frozen(&self.freezer, request).await
    }

    pub(crate) async fn thaw(&self) {
        freeze::thaw(&self.freezer).await;
    }

    /// Waits for the change that is under way, and lets no other begin. `None`: that took too long.
    pub(crate) async fn stop_changes(&self, limit: Duration) -> Option<OwnedMutexGuard<()>> {
        self.changes.acquire_within(limit).await
    }

    /// Serves one stream's request.
    pub(crate) async fn serve<P: Peer>(
        &self,
        lifecycle: &Lifecycle,
        request: Request,
        from: &mut Reader<P>,
        to: &mut Writer<P>,
    ) -> Result<(), FrameError> {
        if let Err(fault) = lifecycle.ready_for("requests about files") {
            // All events about failures look the same.
            return frame::write_message(to, &ChangeReply::Failed(fault)).await;
        }
        let layout = self.layout.clone();
        match request {
            Request::Change(request) => {
                change::run(&layout, &self.changes, lifecycle, request, from, to).await
            }
            Request::Place(request) => {
                place::run(&self.backend, &self.changes, lifecycle, request, from, to).await
            }
            Request::List(request) => {
                let work = move |replies: &_| list::list(&layout, &request, replies);
                worker::run(from, to, work, ListEvent::Failed).await
            }
            Request::Read(request) => {
                let work = move |replies: &_| read::read(&layout, &request, replies);
                worker::run(from, to, work, ReadEvent::Failed).await
            }
            Request::Export(request) => {
                let work = move |replies: &_| export::export(&layout, &request, replies);
                worker::run(from, to, work, ExportEvent::Failed).await
            }
            Request::Diff(request) => {
                let changes = self.changes.clone();
                let work = move |replies: &_| diff::diff(&layout, &changes, &request, replies);
                worker::run(from, to, work, DiffEvent::Failed).await
            }
        }
    }
}
