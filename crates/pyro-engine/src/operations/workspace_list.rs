use async_trait::async_trait;
use futures::future::join_all;
use pyro_api::operations::workspace_list::{WorkspaceList, WorkspaceListed};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::answers::Page;
use crate::workspace::find::list_item;

#[async_trait]
impl Handle<WorkspaceList> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceList,
        caller: &Caller,
    ) -> Result<WorkspaceListed, Error> {
        self.sweep_workspaces().await?;
        let mut found = Vec::new();
        // One that is damaged must not hide the others; it shows itself when it is asked for.
        for stored in self.store()?.workspaces()?.into_iter().flatten() {
            let folder = self.workspace_folder(&stored.record.workspace_id);
            if stored.maker.is_none() && folder.builder().is_none() {
                found.extend(self.reconcile_state(stored)?);
            }
        }
        let shown = found
            .into_iter()
            .map(|stored| self.shown(stored, false, caller));
        let mut records = join_all(shown).await;
        records.sort_by(|one, other| {
            other
                .last_activity_at
                .total_cmp(&one.last_activity_at)
                .then(other.created_at.total_cmp(&one.created_at))
                .then(one.workspace_id.cmp(&other.workspace_id))
        });
        let total = records.len();
        let items = records
            .into_iter()
            .map(|record| Ok::<_, Error>(list_item(record)));
        let (workspaces, next_skip) = Page::of(caller, asked.skip, None, u32::MAX).take(items)?;
        Ok(WorkspaceListed {
            count: workspaces.len(),
            total,
            next_skip,
            workspaces,
        })
    }
}
