use async_trait::async_trait;
use pyro_api::operations::workspace_delete::{WorkspaceDelete, WorkspaceDeleted};
use pyro_api::values::DeleteReason;
use pyro_api::{Caller, Error, ErrorCode, Handle};

use crate::Engine;

#[async_trait]
impl Handle<WorkspaceDelete> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceDelete,
        _caller: &Caller,
    ) -> Result<WorkspaceDeleted, Error> {
        let id = match self.find_workspace(&asked.workspace_id) {
            Ok(stored) => stored.record.workspace_id,
            // One that cannot be read can still be deleted, by its whole id.
            Err(error) if error.code == ErrorCode::Damaged => asked.workspace_id.trim().to_owned(),
            Err(error) => return Err(error),
        };
        self.delete_workspace(&id).await?;
        Ok(WorkspaceDeleted {
            workspace_id: id,
            deleted: true,
            reason: DeleteReason::ExplicitDelete,
        })
    }
}
