use async_trait::async_trait;
use pyro_api::operations::workspace_disk_export::{DiskExported, WorkspaceDiskExport};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

#[async_trait]
impl Handle<WorkspaceDiskExport> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceDiskExport,
        caller: &Caller,
    ) -> Result<DiskExported, Error> {
        let disk = self.stopped_disk(&asked.workspace_id).await?;
        let (output_path, bytes_written) = disk.export(asked.output_path, caller).await?;
        Ok(DiskExported {
            workspace_id: disk.id.clone(),
            output_path: output_path.display().to_string(),
            disk_format: "ext4".to_owned(),
            bytes_written,
        })
    }
}
