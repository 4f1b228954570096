use async_trait::async_trait;
use pyro_api::operations::workspace_sync_push::{Pushed, WorkspaceSync, WorkspaceSyncPush};
use pyro_api::{Caller, Error, ErrorCode, Handle};
use pyro_patch::NOT_TO_BE_CHANGED;
use pyro_transfer::import::GuestIndex;
use pyro_wire::fault::FaultCode;
use pyro_wire::files::Change;
use pyro_wire::repositories::in_repository_folder;

use crate::Engine;
use crate::image_config;
use crate::machine::now;
use crate::store::StoredWorkspace;
use crate::workspace::connect::Connected;
use crate::workspace::files::{self, FilesError};
use crate::workspace::incoming::Incoming;
use crate::workspace::paths::GuestPath;
use crate::workspace::repository_folder::USE_ITS_COMMANDS;

#[async_trait]
impl Handle<WorkspaceSyncPush> for Engine {
    async fn handle(&self, asked: WorkspaceSyncPush, caller: &Caller) -> Result<Pushed, Error> {
        let dest = GuestPath::parse_folder("destination", &asked.dest)?;
        if in_repository_folder(dest.relative().as_bytes()) {
            let what = format!("Nothing was copied to `{}`", dest.absolute());
            return Err(Error::new(ErrorCode::BadPath, what)
                .because(format!("`{}` {NOT_TO_BE_CHANGED}", dest.relative()))
                .hint(USE_ITS_COMMANDS));
        }
        let before = self.find_workspace(&asked.workspace_id)?.selection;
        let selection = before.clone().and(&asked.exclude, asked.gitignore)?;
        let source = Incoming::open(asked.source_path, selection.clone(), caller).await?;
        let (left_out, mut notes) = source.told();
        let doing = "take the files";
        let Connected {
            stored,
            stream,
            started,
        } = self
            .connect_files(&asked.workspace_id, doing, caller)
            .await?;
        let failed = |error| {
            let what = format!("Nothing was copied to `{}`", dest.absolute());
            self.files_failed(&stored, &what, doing, error)
        };
        let there = match files::list(stream, dest.bytes(), true).await {
            Ok(entries) => entries,
            // The folder is made with what goes into it.
            Err(FilesError::Refused { fault }) if fault.code == FaultCode::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let now_ns = (now() * 1e9) as i64;
        let index = GuestIndex::new(there, dest.relative().as_bytes(), now_ns);
        let line = self.reconnect_files(&stored, doing).await?;
        let change = Change {
            destination: dest.bytes(),
            user: image_config::user_to_wire(None, &stored.record.metadata),
            ..Change::default()
        };
        let (mode, path) = (source.mode(), source.path().display().to_string());
        let listening = caller.clone();
        let packed = files::change(line, change, move |to| {
            source.send(Some(&index), to, &listening)
        })
        .await
        .map_err(failed)?;
        notes.extend(packed.note());
        let id = &stored.record.workspace_id;
        if selection != before {
            let remember = |stored: &mut StoredWorkspace| stored.selection = selection;
            self.store()?.change_workspace(id, remember)?;
        }
        self.touch_workspace(id)?;
        Ok(Pushed {
            workspace_id: stored.record.workspace_id,
            execution_mode: stored.record.execution_mode,
            workspace_sync: WorkspaceSync {
                mode,
                source_path: path,
                destination: dest.absolute(),
                entry_count: packed.whole.entries,
                bytes_written: packed.whole.bytes,
                changed_count: packed.changed.entries,
                changed_bytes: packed.changed.bytes,
                left_out,
                notes,
            },
            workspace_started: started,
        })
    }
}
