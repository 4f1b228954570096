use async_trait::async_trait;
use pyro_api::operations::workspace_update::WorkspaceUpdate;
use pyro_api::values::{WorkspaceName, WorkspaceRecord};
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;
use crate::machine::{now, shim_client};
use crate::workspace::errors::unknown;

#[async_trait]
impl Handle<WorkspaceUpdate> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceUpdate,
        caller: &Caller,
    ) -> Result<WorkspaceRecord, Error> {
        asked.check()?;
        let found = self.find_workspace(&asked.workspace_id)?;
        let name = asked.name.as_ref().map(WorkspaceName::as_str);
        self.redactor(&found)?.check_names(name, &asked.labels)?;
        let id = found.record.workspace_id;
        let mut effect = false;
        let changed = self.store()?.change_workspace(&id, |stored| {
            let record = &mut stored.record;
            let before = (record.name.clone(), record.labels.clone());
            if asked.clear_name {
                record.name = None;
            }
            if let Some(name) = &asked.name {
                record.name = Some(name.as_str().to_owned());
            }
            record.labels.set(&asked.labels);
            for key in &asked.clear_labels {
                record.labels.remove(key);
            }
            effect = before != (record.name.clone(), record.labels.clone());
            if effect {
                record.last_activity_at = now();
            }
        })?;
        let stored = changed.ok_or_else(|| unknown(&id))?;
        if !effect {
            return Err(
                Error::invalid(format!("The update changes nothing in workspace `{id}`"))
                    .because("it already has what was given"),
            );
        }
        // Somebody cares for it, so its time starts anew; one that is stopped has none.
        let _ = shim_client::touch(&self.vm_of(&stored)).await;
        let mut record = self.shown(stored, false, caller).await;
        if asked.name.is_some() {
            record.notes.extend(self.namesakes(&record)?);
        }
        Ok(record)
    }
}
