use async_trait::async_trait;
use pyro_api::operations::workspace_create::WorkspaceCreate;
use pyro_api::values::WorkspaceRecord;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

#[async_trait]
impl Handle<WorkspaceCreate> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceCreate,
        caller: &Caller,
    ) -> Result<WorkspaceRecord, Error> {
        asked.check()?;
        self.create_workspace(&asked, caller).await
    }
}
