use pyro_api::operations::workspace_start::WorkspaceStart;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceStart> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceStart,
        _caller: &Caller,
    ) -> Result<<WorkspaceStart as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
