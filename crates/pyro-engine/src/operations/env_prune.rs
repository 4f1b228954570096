use std::path::Path;

use async_trait::async_trait;
use pyro_api::operations::env_prune::{EnvPrune, Pruned};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::error::catalog_failed;

#[async_trait]
impl Handle<EnvPrune> for Engine {
    async fn handle(&self, _: EnvPrune, _caller: &Caller) -> Result<Pruned, Error> {
        self.drop_stale_standbys().await;
        let used = self.used_cache_paths()?;
        let in_use = |path: &Path| used.iter().any(|file| file.starts_with(path));
        let pruned = self.catalog().prune(&in_use).map_err(catalog_failed)?;
        let (templates, freed) = self.prune_templates();
        let mut deleted = pruned.deleted;
        deleted.extend(templates);
        // After the images, whose going makes trees go.
        let (trees, freed_by_trees) = self.prune_trees();
        deleted.extend(trees);
        deleted.sort();
        Ok(Pruned {
            count: deleted.len(),
            deleted_environment_dirs: deleted,
            freed_bytes: pruned.freed_bytes + freed + freed_by_trees,
        })
    }
}
