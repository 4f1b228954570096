use pyro_api::operations::workspace_status::WorkspaceStatus;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceStatus> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceStatus,
        _caller: &Caller,
    ) -> Result<<WorkspaceStatus as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
