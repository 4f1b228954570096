use pyro_api::operations::workspace_diff::WorkspaceDiff;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceDiff> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceDiff,
        _caller: &Caller,
    ) -> Result<<WorkspaceDiff as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
