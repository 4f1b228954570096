use async_trait::async_trait;
use pyro_api::operations::workspace_file_list::{FileEntry, FileListing, WorkspaceFileList};
use pyro_api::values::MaxEntries;
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::answers::Page;
use crate::workspace::connect::Connected;
use crate::workspace::display::{artifact_type, octal, shown_absolute};
use crate::workspace::files;
use crate::workspace::paths::GuestPath;

#[async_trait]
impl Handle<WorkspaceFileList> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceFileList,
        caller: &Caller,
    ) -> Result<FileListing, Error> {
        let path = GuestPath::parse("path", &asked.path)?;
        let doing = "list the files";
        let Connected {
            stored,
            stream,
            started,
        } = self
            .connect_files(&asked.workspace_id, doing, caller)
            .await?;
        let entries = files::list(stream, path.as_written(&asked.path), asked.recursive)
            .await
            .map_err(|error| {
                let what = format!("`{}` could not be listed", path.absolute());
                self.files_failed(&stored, &what, doing, error)
            })?;
        self.touch_workspace(&stored.record.workspace_id)?;
        let total = entries.len();
        let page = Page::of(
            caller,
            asked.skip,
            asked.max_entries.map(MaxEntries::get),
            u32::MAX,
        );
        let entries = entries.into_iter().map(|entry| {
            Ok::<_, Error>(FileEntry {
                path: shown_absolute(&entry.path),
                artifact_type: artifact_type(entry.meta.kind),
                size_bytes: entry.meta.size,
                link_target: entry
                    .meta
                    .target
                    .map(|target| String::from_utf8_lossy(&target).into_owned()),
                mode: octal(entry.meta.mode),
                modified_at: entry.stamp.mtime_ns as f64 / 1e9,
            })
        });
        let (entries, next_skip) = page.take(entries)?;
        Ok(FileListing {
            workspace_id: stored.record.workspace_id,
            path: path.absolute(),
            recursive: asked.recursive,
            truncated: next_skip.is_some(),
            entries,
            total_entries: total as u64,
            next_skip,
            execution_mode: stored.record.execution_mode,
            workspace_started: started,
        })
    }
}
