use pyro_api::operations::workspace_exec::WorkspaceExec;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceExec> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceExec,
        _caller: &Caller,
    ) -> Result<<WorkspaceExec as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
