//! Ends a workspace for good.

use pyro_api::{Error, ErrorCode};

use super::errors::unknown;
use super::lock::LockMode;
use crate::engine::Engine;
use crate::error::host_io;

impl Engine {
    /// Removes the record, then the VM, then the folder: whatever stops this in the middle leaves
    /// debris that the next sweep clears away, and no half workspace.
    pub(crate) async fn delete_workspace(&self, id: &str) -> Result<(), Error> {
        let folder = self.workspace_folder(id);
        // Its folder may be gone already, deleted by hand.
        let held = match folder.path().is_dir() {
            true => Some(folder.lock(id, LockMode::Exclusive).await?),
            false => None,
        };
        let store = self.store()?;
        if !store.has_workspace(id)? {
            // Another process was faster.
            return Err(unknown(id));
        }
        if held.is_some() {
            folder.mark_as_debris().map_err(|error| {
                host_io(format!("Workspace `{id}` could not be deleted"), &error)
            })?;
        }
        match store.remove_workspace(id).map_err(Error::from) {
            // On a full disk there is room for that only without the files.
            Err(error) if error.code == ErrorCode::NoSpace => {
                self.remove_debris(&folder).await?;
                store.remove_workspace(id)?;
            }
            forgotten => {
                forgotten?;
                self.remove_debris(&folder).await?;
            }
        }
        store.sync()?;
        drop(held);
        Ok(())
    }
}
