use pyro_api::operations::workspace_list::WorkspaceList;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceList> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceList,
        _caller: &Caller,
    ) -> Result<<WorkspaceList as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
