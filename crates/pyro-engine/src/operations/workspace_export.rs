use pyro_api::operations::workspace_export::WorkspaceExport;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceExport> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceExport,
        _caller: &Caller,
    ) -> Result<<WorkspaceExport as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
