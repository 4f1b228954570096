use pyro_api::operations::workspace_create::WorkspaceCreate;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceCreate> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceCreate,
        _caller: &Caller,
    ) -> Result<<WorkspaceCreate as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
