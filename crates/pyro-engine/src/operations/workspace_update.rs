use pyro_api::operations::workspace_update::WorkspaceUpdate;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceUpdate> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceUpdate,
        _caller: &Caller,
    ) -> Result<<WorkspaceUpdate as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
