use std::collections::HashSet;
use std::path::PathBuf;

use pyro_api::operations::env_prune::{EnvPrune, Pruned};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::error::catalog_failed;

/// The facts of a VM's record that name files of the cache.
const CACHE_FACTS: [&str; 3] = ["environment_install_dir", "kernel_image", "rootfs_image"];

impl Handle<EnvPrune> for Engine {
    async fn handle(&self, _: EnvPrune, _caller: &Caller) -> Result<Pruned, Error> {
        let mut used = HashSet::new();
        for vm in self.store()?.vms()?.into_iter().flatten() {
            let facts = &vm.record.metadata;
            used.extend(
                CACHE_FACTS
                    .iter()
                    .filter_map(|fact| facts.get(*fact))
                    .map(PathBuf::from),
            );
        }
        let in_use = |path: &std::path::Path| used.iter().any(|file| file.starts_with(path));
        let pruned = self.catalog().prune(&in_use).map_err(catalog_failed)?;
        Ok(Pruned {
            count: pruned.deleted.len(),
            deleted_environment_dirs: pruned.deleted,
            freed_bytes: pruned.freed_bytes,
        })
    }
}
