use async_trait::async_trait;
use pyro_api::operations::snapshot_list::{SnapshotList, Snapshots};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::workspace::snapshots::all_shown;

#[async_trait]
impl Handle<SnapshotList> for Engine {
    async fn handle(&self, asked: SnapshotList, _caller: &Caller) -> Result<Snapshots, Error> {
        let stored = self.find_workspace(&asked.workspace_id)?;
        let snapshots = all_shown(&stored);
        Ok(Snapshots {
            workspace_id: stored.record.workspace_id,
            count: snapshots.len() as u64,
            snapshots,
        })
    }
}
