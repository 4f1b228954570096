use async_trait::async_trait;
use pyro_api::operations::workspace_file_write::{FileWritten, WorkspaceFileWrite};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::image_config;
use crate::workspace::connect::Connected;
use crate::workspace::paths::GuestPath;
use crate::workspace::text_input::content;
use crate::workspace::write::write_file;

#[async_trait]
impl Handle<WorkspaceFileWrite> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceFileWrite,
        caller: &Caller,
    ) -> Result<FileWritten, Error> {
        let path = GuestPath::parse("path", &asked.path)?;
        let content = content(asked.text, asked.encoding, caller).await?;
        let doing = "write the file";
        let Connected {
            stored,
            stream,
            started,
        } = self
            .connect_files(&asked.workspace_id, doing, caller)
            .await?;
        let bytes = content.len() as u64;
        let line = self.reconnect_files(&stored, doing).await?;
        let user = image_config::user_to_wire(asked.user.as_ref(), &stored.record.metadata);
        let created = write_file(stream, line, &path, content, user)
            .await
            .map_err(|error| {
                let what = format!("`{}` could not be written", path.absolute());
                self.files_failed(&stored, &what, doing, error)
            })?;
        self.touch_workspace(&stored.record.workspace_id)?;
        Ok(FileWritten {
            workspace_id: stored.record.workspace_id,
            path: path.absolute(),
            size_bytes: bytes,
            bytes_written: bytes,
            execution_mode: stored.record.execution_mode,
            created,
            workspace_started: started,
        })
    }
}
