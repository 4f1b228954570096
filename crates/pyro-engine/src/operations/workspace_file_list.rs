use pyro_api::operations::workspace_file_list::WorkspaceFileList;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceFileList> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceFileList,
        _caller: &Caller,
    ) -> Result<<WorkspaceFileList as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
