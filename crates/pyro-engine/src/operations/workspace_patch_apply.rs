use async_trait::async_trait;
use pyro_api::operations::workspace_patch_apply::{Patched, WorkspacePatchApply};
use pyro_api::values::PatchText;
use pyro_api::{Caller, Error, Handle};
use pyro_patch::MAX_PATCH;

use crate::Engine;
use crate::answers::{self, Budget};
use crate::workspace::connect::Connected;
use crate::workspace::text_input::{file_bytes, text_input};

#[async_trait]
impl Handle<WorkspacePatchApply> for Engine {
    async fn handle(&self, asked: WorkspacePatchApply, caller: &Caller) -> Result<Patched, Error> {
        let patch = match asked.patch {
            PatchText::Inline(text) => text_input("patch", text)?.into_bytes(),
            // A patch of files in other encodings is in those encodings, too.
            PatchText::File(file) => file_bytes("patch", &file, MAX_PATCH as u64, caller).await?,
        };
        if patch.trim_ascii().is_empty() {
            return Err(Error::invalid("The patch is empty").hint(
                "Give a unified diff, as `git diff` writes it, or a patch from `*** Begin Patch` \
                 to `*** End Patch`",
            ));
        }
        let doing = "apply the patch";
        let Connected {
            stored, started, ..
        } = self
            .connect_files(&asked.workspace_id, doing, caller)
            .await?;
        let applied = self.apply_patch(&stored, &patch).await.map_err(|error| {
            let what = "The patch was not applied; nothing was changed";
            self.files_failed(&stored, what, doing, error)
        })?;
        let mut budget = Budget::of(caller);
        self.touch_workspace(&stored.record.workspace_id)?;
        Ok(Patched {
            workspace_id: stored.record.workspace_id,
            changed: applied.summary.total > 0,
            summary: applied.summary,
            entries: applied
                .entries
                .into_iter()
                .take_while(|entry| budget.fits(entry))
                .collect(),
            format: applied.format,
            patch: answers::excerpt(caller, String::from_utf8_lossy(&patch).into_owned()),
            execution_mode: stored.record.execution_mode,
            notes: answers::names(caller, applied.notes),
            workspace_started: started,
        })
    }
}
