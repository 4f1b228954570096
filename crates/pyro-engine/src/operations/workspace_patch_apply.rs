use pyro_api::operations::workspace_patch_apply::WorkspacePatchApply;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

impl Handle<WorkspacePatchApply> for Engine {
    async fn handle(
        &self,
        _asked: WorkspacePatchApply,
        _caller: &Caller,
    ) -> Result<<WorkspacePatchApply as Operation>::Output, Error> {
        Err(Error::invalid("not built yet on this branch"))
    }
}
