use async_trait::async_trait;
use pyro_api::operations::workspace_status::WorkspaceStatus;
use pyro_api::values::WorkspaceRecord;
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

#[async_trait]
impl Handle<WorkspaceStatus> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceStatus,
        caller: &Caller,
    ) -> Result<WorkspaceRecord, Error> {
        let stored = self.find_workspace(&asked.workspace_id)?;
        let stored = self.with_jobs_asked(stored).await?;
        Ok(self.shown(stored, false, caller).await)
    }
}
