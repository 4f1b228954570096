use pyro_api::operations::workspace_reset::WorkspaceReset;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceReset> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceReset,
        _caller: &Caller,
    ) -> Result<<WorkspaceReset as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
