use std::path::Path;

use async_trait::async_trait;
use pyro_api::operations::env_delete::{DeletedEnvironment, EnvDelete};
use pyro_api::{Caller, Error, ErrorCode, Handle};

use crate::Engine;
use crate::error::{broke, catalog_failed};

#[async_trait]
impl Handle<EnvDelete> for Engine {
    async fn handle(&self, asked: EnvDelete, caller: &Caller) -> Result<DeletedEnvironment, Error> {
        let spec = self.named(&asked.environment, caller).await?;
        self.drop_stale_standbys().await;
        let users = self.users_of(&self.catalog().install_dir(spec))?;
        if !users.is_empty() {
            return Err(Error::new(
                ErrorCode::Conflict,
                format!("Environment `{}` is in use", spec.name),
            )
            .because(format!(
                "the disk of {} stands on its files",
                users.join(", ")
            ))
            .hint("Delete that first"));
        }
        let installed = self.catalog().installed(spec).ok().flatten();
        let digest = installed.map(|installed| installed.rootfs_digest);
        let catalog = self.catalog().clone();
        let deleted = tokio::task::spawn_blocking(move || catalog.delete_environment(spec))
            .await
            .map_err(|error| broke(&error))?
            .map_err(catalog_failed)?;
        // What was made of it, and is nobody's any more.
        let (_, templates) = match digest {
            Some(digest) => self.prune_templates_of(&digest),
            None => (Vec::new(), 0),
        };
        let (_, trees) = self.prune_trees();
        Ok(DeletedEnvironment {
            environment: spec.name.to_owned(),
            freed_bytes: deleted.freed_bytes + templates + trees,
        })
    }
}

impl Engine {
    /// Guests that have no names of their own for the files of an environment: all that are not workspaces, and
    /// workspaces where the cache is on another file system.
    pub(super) fn users_of(&self, install_dir: &Path) -> Result<Vec<String>, Error> {
        const PLACE: &str = "environment_install_dir";
        let place = install_dir.display().to_string();
        let store = self.store()?;
        let mut users = Vec::new();
        for vm in store.vms()?.into_iter().flatten() {
            if vm.record.metadata.get(PLACE) == Some(&place) {
                users.push(format!("VM {}", vm.record.vm_id));
            }
        }
        for workspace in store.workspaces()?.into_iter().flatten() {
            let id = &workspace.record.workspace_id;
            let stands_on_it = workspace.record.metadata.get(PLACE) == Some(&place)
                && !workspace.is_on_folders()
                && !self.workspace_folder(id).image().exists();
            if stands_on_it {
                users.push(format!("workspace {id}"));
            }
        }
        Ok(users)
    }
}
