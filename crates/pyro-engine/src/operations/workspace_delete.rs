use pyro_api::operations::workspace_delete::WorkspaceDelete;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceDelete> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceDelete,
        _caller: &Caller,
    ) -> Result<<WorkspaceDelete as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
