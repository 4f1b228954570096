use pyro_api::operations::workspace_logs::WorkspaceLogs;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceLogs> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceLogs,
        _caller: &Caller,
    ) -> Result<<WorkspaceLogs as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
