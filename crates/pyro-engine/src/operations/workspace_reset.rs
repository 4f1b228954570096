use async_trait::async_trait;
use pyro_api::operations::workspace_reset::{Reset, WorkspaceReset};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::workspace::snapshots::Target;

#[async_trait]
impl Handle<WorkspaceReset> for Engine {
    async fn handle(&self, asked: WorkspaceReset, caller: &Caller) -> Result<Reset, Error> {
        let found = self.find_workspace(&asked.workspace_id)?;
        let id = &found.record.workspace_id;
        let name = asked.snapshot.trim();
        // Before anything is waited for.
        Target::find(&found, name).map_err(|error| self.redacted_error(&found, error))?;
        let held = self.lock_settled(id).await?;
        let (_held, stored) = self.shallow(held, name, caller).await?;
        let target = Target::find(&stored, name)?;
        let stored = self.reset_workspace(stored, &target, caller).await?;
        let workspace_reset = target.source(&stored);
        Ok(Reset {
            workspace: self.shown(stored, false, caller).await,
            workspace_reset,
        })
    }
}
