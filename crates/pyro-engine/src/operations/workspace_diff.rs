use pyro_api::operations::workspace_diff::{Differences, WorkspaceDiff};
use pyro_api::{Caller, Error, ErrorCode, Handle};

use crate::Engine;
use crate::answers;
use crate::error::broke;
use crate::workspace::connect::Connected;
use crate::workspace::differences::Part;
use crate::workspace::text_diff::MAX_SIDE;
use crate::workspace::words::shown_absolute;
use crate::workspace::{differences, files};

impl Handle<WorkspaceDiff> for Engine {
    async fn handle(&self, asked: WorkspaceDiff, caller: &Caller) -> Result<Differences, Error> {
        let doing = "compare its files";
        let Connected {
            stored,
            stream,
            started,
        } = self.connect(&asked.workspace_id, doing, caller).await?;
        let id = stored.record.workspace_id.clone();
        let what = format!("The changes of workspace `{id}` could not be found out");
        let (changed, skipped) = files::diff(stream, MAX_SIDE as u64)
            .await
            .map_err(|error| self.files_failed(&stored, &what, doing, error))?;
        self.touch_workspace(&id)?;
        let read = self.baseline_of(&stored)?;
        let part = Part::of(&asked, caller);
        let compare = move || differences::compare(changed, &read()?, part);
        let compared = tokio::task::spawn_blocking(compare)
            .await
            .map_err(|error| broke(&error))?
            .map_err(|error| {
                Error::new(ErrorCode::Damaged, what)
                    .because("its first state cannot be read from the disk layers on this host")
                    .caused_by(&error)
                    .hint("`pyro workspace export` (`workspace_export`) still takes its files out")
            })?;
        Ok(Differences {
            workspace_id: id,
            changed: compared.summary.total > 0,
            summary: compared.summary,
            entries: compared.entries,
            patch: compared.patch,
            patch_truncated: compared.truncated,
            next_skip: compared.next_skip,
            skipped: answers::names(
                caller,
                skipped.iter().map(|name| shown_absolute(name)).collect(),
            ),
            workspace_started: started,
        })
    }
}
