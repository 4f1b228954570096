use async_trait::async_trait;
use pyro_api::operations::workspace_start::{Started, WorkspaceStart};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

#[async_trait]
impl Handle<WorkspaceStart> for Engine {
    async fn handle(&self, asked: WorkspaceStart, caller: &Caller) -> Result<Started, Error> {
        let connected = self
            .connect(&asked.workspace_id, "start it", caller)
            .await?;
        self.touch_workspace(&connected.stored.record.workspace_id)?;
        Ok(Started(
            self.shown(connected.stored, connected.started, caller)
                .await,
        ))
    }
}
