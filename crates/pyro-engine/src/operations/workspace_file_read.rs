use pyro_api::operations::workspace_file_read::WorkspaceFileRead;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceFileRead> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceFileRead,
        _caller: &Caller,
    ) -> Result<<WorkspaceFileRead as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
