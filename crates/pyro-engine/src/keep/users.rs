//! Whose disks stand on the files of an environment.

use std::path::Path;

use pyro_api::{Error, ErrorCode};
use pyro_catalog::EnvironmentSpec;

use crate::engine::Engine;
use crate::machine::facts::INSTALL_DIR;

impl Engine {
    /// Refuses where the files of an environment may not go, be it that it is deleted or that another one takes its
    /// place.
    pub(crate) async fn refuse_while_used(&self, spec: &EnvironmentSpec) -> Result<(), Error> {
        let install_dir = self.catalog().install_dir(spec);
        if install_dir.symlink_metadata().is_err() {
            return Ok(());
        }
        self.drop_stale_standbys().await;
        let users = self.users_of(&install_dir)?;
        if users.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::Conflict,
            format!("Environment `{}` is in use", spec.name),
        )
        .because(format!(
            "the disk of {} stands on its files",
            users.join(", ")
        ))
        .hint("Delete that first"))
    }

    /// Guests that have no names of their own for the files of an environment: all that are not workspaces, and
    /// workspaces where the cache is on another file system.
    pub(crate) fn users_of(&self, install_dir: &Path) -> Result<Vec<String>, Error> {
        let place = install_dir.display().to_string();
        let store = self.store()?;
        let mut users = Vec::new();
        for vm in store.vms()?.into_iter().flatten() {
            if vm.record.metadata.get(INSTALL_DIR) == Some(&place) {
                users.push(format!("VM {}", vm.record.vm_id));
            }
        }
        for workspace in store.workspaces()?.into_iter().flatten() {
            let id = &workspace.record.workspace_id;
            let stands_on_it = workspace.record.metadata.get(INSTALL_DIR) == Some(&place)
                && !workspace.is_on_folders()
                && !self.workspace_folder(id).image().exists();
            if stands_on_it {
                users.push(format!("workspace {id}"));
            }
        }
        Ok(users)
    }
}
