//! Ends a workspace for good.

use pyro_api::Error;

use super::lock::Hold;
use crate::engine::Engine;
use crate::error::host_io;

impl Engine {
    /// Removes the record, then the VM, then the folder: whatever stops this in the middle leaves
    /// debris that the next sweep clears away, and no half workspace.
    pub(crate) async fn delete_workspace(&self, id: &str) -> Result<(), Error> {
        let folder = self.workspace_folder(id);
        // Its folder may be gone already, deleted by hand.
        let held = match folder.path().is_dir() {
            true => Some(folder.hold(id, Hold::Exclusive).await?),
            false => None,
        };
        if held.is_some() {
            folder.mark_as_debris().map_err(|error| {
                host_io(format!("Workspace `{id}` could not be deleted"), &error)
            })?;
        }
        self.store()?.remove_workspace(id)?;
        self.store()?.settle()?;
        self.remove_remains(&folder).await?;
        drop(held);
        Ok(())
    }
}
