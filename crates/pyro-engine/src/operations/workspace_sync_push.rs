use pyro_api::operations::workspace_sync_push::WorkspaceSyncPush;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspaceSyncPush> for Engine {
    async fn handle(
        &self,
        _asked: WorkspaceSyncPush,
        _caller: &Caller,
    ) -> Result<<WorkspaceSyncPush as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
