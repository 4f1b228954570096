use async_trait::async_trait;
use pyro_api::operations::snapshot_create::{SnapshotCreate, SnapshotCreated};
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;
use crate::workspace::snapshots::shown;

#[async_trait]
impl Handle<SnapshotCreate> for Engine {
    async fn handle(
        &self,
        asked: SnapshotCreate,
        caller: &Caller,
    ) -> Result<SnapshotCreated, Error> {
        asked.check()?;
        let made = self
            .create_snapshot(&asked.workspace_id, asked.snapshot_name.as_str(), caller)
            .await?;
        Ok(SnapshotCreated {
            workspace_id: made.stored.record.workspace_id.clone(),
            snapshot: shown(&made.stored, &made.snapshot),
            execution_mode: made.stored.record.execution_mode,
            workspace_started: made.started,
        })
    }
}
