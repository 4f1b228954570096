use async_trait::async_trait;
use pyro_api::operations::snapshot_delete::{SnapshotDelete, SnapshotDeleted};
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

#[async_trait]
impl Handle<SnapshotDelete> for Engine {
    async fn handle(
        &self,
        asked: SnapshotDelete,
        caller: &Caller,
    ) -> Result<SnapshotDeleted, Error> {
        asked.check()?;
        let snapshot_name = String::from(asked.snapshot_name);
        let workspace_id = self
            .delete_snapshot(&asked.workspace_id, &snapshot_name, caller)
            .await?;
        Ok(SnapshotDeleted {
            workspace_id,
            snapshot_name,
            deleted: true,
        })
    }
}
