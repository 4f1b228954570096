use async_trait::async_trait;
use pyro_api::operations::workspace_stop::{Stopped, WorkspaceStop};
use pyro_api::values::VmState;
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::workspace::lock::LockMode;

#[async_trait]
impl Handle<WorkspaceStop> for Engine {
    async fn handle(&self, asked: WorkspaceStop, caller: &Caller) -> Result<Stopped, Error> {
        let id = self
            .find_workspace(&asked.workspace_id)?
            .record
            .workspace_id;
        let held = self
            .workspace_folder(&id)
            .lock(&id, LockMode::Exclusive)
            .await?;
        let stored = self.reload_workspace(&id)?;
        let was_stopped = stored.record.state == VmState::Stopped;
        let stored = self.stop_workspace(stored, "a stop was requested").await?;
        drop(held);
        // A sandbox that runs keeps its layers as they are.
        if stored.is_on_folders() && !stored.mergeable().is_empty() {
            self.free_layers(&id, "deleted snapshots", caller).await?;
        }
        let mut record = self.shown(stored, false, caller).await;
        if was_stopped {
            record.notes.push("it was stopped already".to_owned());
        }
        Ok(Stopped(record))
    }
}
