use async_trait::async_trait;
use pyro_api::operations::workspace_export::{Exported, WorkspaceExport};
use pyro_api::values::ArtifactType;
use pyro_api::{Caller, Error, Handle};
use pyro_transfer::export::ArtifactKind;
use pyro_wire::Bytes;

use crate::Engine;
use crate::answers;
use crate::workspace::connect::Connected;
use crate::workspace::display::shown_absolute;
use crate::workspace::files;
use crate::workspace::outgoing;
use crate::workspace::paths::GuestPath;

#[async_trait]
impl Handle<WorkspaceExport> for Engine {
    async fn handle(&self, asked: WorkspaceExport, caller: &Caller) -> Result<Exported, Error> {
        let path = GuestPath::parse("path", &asked.path)?;
        let name = path.name();
        let destination =
            outgoing::prepare(asked.output_path, name, asked.overwrite, caller).await?;
        let doing = "send the files";
        let Connected {
            stored,
            stream,
            started,
        } = self
            .connect_files(&asked.workspace_id, doing, caller)
            .await?;
        let listening = caller.clone();
        let ((received, output_path), unsent) = files::export(stream, path.bytes(), move |from| {
            outgoing::receive(destination, from, &listening)
        })
        .await
        .map_err(|error| {
            let what = format!("`{}` could not be copied out", path.absolute());
            self.files_failed(&stored, &what, doing, error)
        })?;
        self.touch_workspace(&stored.record.workspace_id)?;
        let all = [
            (unsent.special, "neither file, folder nor link"),
            (unsent.too_deep, "too many folders deep"),
        ];
        let unsent = all.into_iter().flat_map(|(names, why)| {
            let line = move |name: Bytes| format!("{}: {why}", shown_absolute(&name));
            names.into_iter().map(line)
        });
        let note = received.note();
        Ok(Exported {
            workspace_id: stored.record.workspace_id,
            workspace_path: path.absolute(),
            output_path: output_path.display().to_string(),
            artifact_type: artifact_type(received.kind),
            entry_count: received.totals.entries,
            bytes_written: received.totals.bytes,
            execution_mode: stored.record.execution_mode,
            skipped: answers::names(caller, received.skipped.into_iter().chain(unsent).collect()),
            notes: note.into_iter().collect(),
            workspace_started: started,
        })
    }
}

fn artifact_type(kind: ArtifactKind) -> ArtifactType {
    match kind {
        ArtifactKind::File => ArtifactType::File,
        ArtifactKind::Symlink => ArtifactType::Symlink,
        ArtifactKind::Folder => ArtifactType::Directory,
    }
}
