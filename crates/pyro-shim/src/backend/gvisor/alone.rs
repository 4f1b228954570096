//! The agent that is alone with a disk, as the one who serves its files.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use pyro_wire::fault::Fault;
use pyro_wire::session::Opener;

use super::passing::Passage;
use crate::backend::{FilesServer, Line};
use crate::handle::open_stream;

pub(super) struct Alone {
    pub(super) agent: Opener,
    pub(super) passage: Passage,
}

impl FilesServer for Alone {
    fn open(self: Arc<Self>) -> BoxFuture<'static, Result<Line, Fault>> {
        async move {
            let stream = open_stream(&self.agent).await?;
            Ok(Line::from(stream).passed_through(self.passage.clone()))
        }
        .boxed()
    }

    /// It ends with the machine, which is nothing else.
    fn close(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}
