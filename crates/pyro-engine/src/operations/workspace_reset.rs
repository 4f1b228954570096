use pyro_api::operations::workspace_reset::{
    BASELINE, Reset, ResetSource, SnapshotKind, WorkspaceReset,
};
use pyro_api::{Caller, Error, ErrorCode, Handle};

use crate::Engine;
use crate::workspace::lock::Hold;

impl Handle<WorkspaceReset> for Engine {
    async fn handle(&self, asked: WorkspaceReset, caller: &Caller) -> Result<Reset, Error> {
        let snapshot = asked.snapshot.trim();
        let id = self
            .find_workspace(&asked.workspace_id)?
            .record
            .workspace_id;
        if snapshot != BASELINE {
            return Err(Error::new(
                ErrorCode::UnknownSnapshot,
                format!("Workspace `{id}` has no snapshot `{snapshot}`"),
            )
            .hint("`baseline` is its first state"));
        }
        let _held = self
            .workspace_folder(&id)
            .hold(&id, Hold::Exclusive)
            .await?;
        let stored = self.reload_workspace(&id)?;
        let stored = self.reset_workspace(stored, caller).await?;
        let seed = stored.record.workspace_seed.clone();
        Ok(Reset {
            workspace: self.shown(stored, false).await,
            workspace_reset: ResetSource {
                snapshot_name: BASELINE.to_owned(),
                kind: SnapshotKind::Baseline,
                destination: seed.destination,
                entry_count: seed.entry_count,
                bytes_written: seed.bytes_written,
            },
        })
    }
}
