use pyro_api::operations::workspace_file_write::WorkspaceFileWrite;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceFileWrite> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceFileWrite,
        _caller: &Caller,
    ) -> Result<<WorkspaceFileWrite as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
