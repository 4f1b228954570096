use pyro_api::operations::workspace_stop::WorkspaceStop;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceStop> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceStop,
        _caller: &Caller,
    ) -> Result<<WorkspaceStop as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
