//! Forgets a state, and gives back the space that only it took.

use pyro_api::{Caller, Error};

use super::unknown_snapshot;
use crate::engine::Engine;
use crate::machine::now;
use crate::workspace::errors::unknown;
use crate::workspace::lock::LockMode;

impl Engine {
    /// Returns the id of the workspace.
    pub(crate) async fn delete_snapshot(
        &self,
        reference: &str,
        name: &str,
        caller: &Caller,
    ) -> Result<String, Error> {
        let id = self.find_workspace(reference)?.record.workspace_id;
        {
            let _held = self
                .workspace_folder(&id)
                .lock(&id, LockMode::Exclusive)
                .await?;
            let stored = self.reload_workspace(&id)?;
            if stored.snapshot(name).is_none() {
                return Err(self.redacted_error(&stored, unknown_snapshot(&stored, name)));
            }
            let stored = self
                .store()?
                .change_workspace(&id, |stored| {
                    stored.snapshots.retain(|known| known.name != name);
                    stored.record.last_activity_at = now();
                })?
                .ok_or_else(|| unknown(&id))?;
            self.note_event(&id, "snapshot_deleted", format!("`{name}`"))?;
            self.store()?.sync()?;
            self.remove_unreferenced(&stored);
        }
        // From here on it is deleted.
        self.free_layers(&id, &format!("`{name}`"), caller).await?;
        Ok(id)
    }

    /// Frees the space of layers that nobody needs. What fails is tried again the next time.
    pub(crate) async fn free_layers(
        &self,
        id: &str,
        of: &str,
        caller: &Caller,
    ) -> Result<(), Error> {
        if let Err(error) = self.merge_layers(id, caller).await {
            let why = error.causes.first().unwrap_or(&error.error).clone();
            let detail = format!("the space of {of} has not been freed yet: {why}");
            self.note_event(id, "snapshot_space", detail)?;
        }
        Ok(())
    }
}
