//! The disk of a workspace whose VM does not run, read without starting it and without root.

mod image;
mod path;
pub(crate) mod scrub;
#[cfg(test)]
mod tests;

use pyro_api::values::VmState;
use pyro_api::{Error, ErrorCode};
use pyro_disk::{Tree, TreeError};

pub(crate) use path::DiskPath;

use super::at_rest::{DiskAtRest, NotOpened, layers_failed, reader_gone};
use super::lock::{LockMode, WorkspaceLock};
use crate::engine::Engine;
use crate::error::broke;

/// A disk that nobody writes to for as long as this is there.
pub(crate) struct StoppedDisk {
    pub(crate) id: String,
    disk: DiskAtRest,
    /// Whoever wants to start the VM waits for it.
    _held: WorkspaceLock,
}

impl Engine {
    pub(crate) async fn stopped_disk(&self, reference: &str) -> Result<StoppedDisk, Error> {
        let found = self.find_workspace(reference)?;
        let id = found.record.workspace_id;
        let folder = self.workspace_folder(&id);
        let held = folder.lock(&id, LockMode::Shared).await?;
        let stored = self.reload_workspace(&id)?;
        let layers = stored.layers.iter().map(|name| folder.layer(name));
        let Some(disk) = self.disk_at_rest(&self.workspace_base(&stored)?, layers)? else {
            return Err(Error::new(
                ErrorCode::Unsupported,
                format!("Workspace `{id}` has no disk"),
            )
            .because("its commands run on the host itself (`host_compat`)")
            .hint(
                "`pyro workspace file list` (`workspace_file_list`) and `file read` \
                 (`workspace_file_read`) work there",
            ));
        };
        // A start whose process was killed has not said so.
        if stored.record.state != VmState::Stopped || self.vm_of(&stored).is_alive() {
            return Err(Error::new(
                ErrorCode::WrongState,
                format!("Workspace `{id}` is running, and its disk is in use"),
            )
            .hint(format!(
                "Stop it first with `pyro workspace stop {id}` (`workspace_stop`); its files are \
                 kept"
            )));
        }
        Ok(StoppedDisk {
            id,
            disk,
            _held: held,
        })
    }
}

impl StoppedDisk {
    /// Does something with the files of the whole disk. `what` is the first line of an error.
    pub(crate) async fn with_files<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&Tree) -> Result<T, TreeError> + Send + 'static,
    ) -> Result<T, Error> {
        let disk = self.disk.clone();
        let whole = what.to_owned();
        let work = move || {
            disk.check().map_err(|error| layers_failed(whole, &error))?;
            let tree = disk.open("")?;
            Ok(work(&tree)?)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| broke(&error))?
            .map_err(|error| match error {
                NotOpened::Tree(error) => unreadable(what, &self.id, &error.from_root()),
                NotOpened::Refused(error) => error,
            })
    }
}

/// Why something on a disk cannot be had.
pub(crate) fn unreadable(what: &str, id: &str, error: &TreeError) -> Error {
    if let Some(gone) = reader_gone(what, error) {
        return gone;
    }
    let (code, hint) = match error {
        TreeError::NotFound { .. } | TreeError::WrongKind { .. } | TreeError::Endless { .. } => (
            ErrorCode::UnknownFile,
            "`pyro workspace disk list` (`workspace_disk_list`) shows what is there".to_owned(),
        ),
        TreeError::NotClean => (
            ErrorCode::Damaged,
            format!(
                "Its VM ended without unmounting its disk. `pyro workspace start {id}` \
                 (`workspace_start`) and then `stop` (`workspace_stop`) repair that"
            ),
        ),
        TreeError::TooLarge { .. } => (
            ErrorCode::Unsupported,
            "List a folder below it, or start the workspace and look there".to_owned(),
        ),
        _ => (
            ErrorCode::Damaged,
            format!(
                "Another state may be intact: `pyro workspace snapshot list {id}` (`snapshot_list`)"
            ),
        ),
    };
    Error::new(code, what).caused_by(error).hint(hint)
}
