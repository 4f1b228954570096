use async_trait::async_trait;
use pyro_api::operations::env_delete::{DeletedEnvironment, EnvDelete};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::error::{broke, catalog_failed};

#[async_trait]
impl Handle<EnvDelete> for Engine {
    async fn handle(&self, asked: EnvDelete, caller: &Caller) -> Result<DeletedEnvironment, Error> {
        let spec = self.named(&asked.environment, caller).await?;
        self.refuse_while_used(spec).await?;
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
