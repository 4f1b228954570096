//! Trees: an environment's image unpacked into a folder, once, for sandboxes that work on folders.
//!
//! ```text
//! <cache>/trees/
//!     <key>/            root/  tree.json
//!     .lock-<key>       held while somebody unpacks it
//!     .partial-…        one being unpacked, or what a killed pyro left
//! ```
//!
//! A key is the digest of the image and of the ids that the files were given, so a tree is never out
//! of date. The files belong to subordinate ids of the caller, and programs among them may be
//! setuid: the folder above is the caller's alone, and everything in a tree is made and removed in a
//! user namespace. Where the cache is somebody else's, `<state>/trees/` takes its place.
//!
//! A tree goes with its image: `pyro env prune`, or a pull that replaces the image, removes it, once
//! no record of a VM or workspace names it.

mod cache;
mod identity;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use pyro_api::{Caller, Error, ErrorCode, Event};
use pyro_catalog::Installed;
use pyro_namespace::IdMap;
use tokio::time::{Instant, sleep};

use self::cache::{Builder, TreeCache};
use self::identity::Identity;
use crate::engine::Engine;
use crate::error::{cancelled, host_io, namespaces_refused};
use crate::machine::disk;
use crate::owned_files::{Helper, OnOwnThread};
use crate::workspace::at_rest::layers_of;

/// How long to wait for another process that unpacks the same tree.
const PATIENCE: Duration = Duration::from_secs(900);

/// How often to look whether it has finished.
const TURN: Duration = Duration::from_millis(50);

impl Engine {
    /// The folder that has the files of an environment's image: unpacked first when there is none yet,
    /// which takes seconds and is told.
    ///
    /// Of an environment that is installed it stays. To keep it beyond that, a record has to
    /// name it within a minute (`facts::TREE`).
    pub(crate) async fn environment_tree(
        &self,
        installed: &Installed,
        caller: &Caller,
    ) -> Result<PathBuf, Error> {
        let ids = IdMap::of_caller().map_err(namespaces_refused)?;
        let identity = Identity::of(installed, ids);
        let caches = self.tree_caches();
        if let Some(tree) = caches.iter().find_map(|cache| cache.find(&identity)) {
            return Ok(tree);
        }
        let what = what(installed);
        let cache = caches
            .into_iter()
            .find(TreeCache::is_ours)
            .ok_or_else(|| no_place(&what))?;
        let name = installed.spec.name;
        let Some(builder) = self.tree_builder(&cache, &identity, &what, caller).await? else {
            return cache.find(&identity).ok_or_else(|| no_place(&what));
        };
        caller
            .emit(Event::Phase {
                scope: "tree",
                phase: "unpack",
                fields: vec![("environment", name.to_owned())],
            })
            .map_err(|_| cancelled())?;
        let helper = Helper::new(self.config().pyro()?, what.clone())?;
        let disk = layers_of(&disk::environment(installed));
        let message = format!("unpacking {name} for sandboxes, once");
        OnOwnThread::start(move |watch| {
            let failed = |error: std::io::Error| host_io(&*what, &error);
            let partial = builder.partial().map_err(failed)?;
            let busy = partial.busy().map_err(failed)?;
            let unpacked = helper
                .unpack(&disk, &partial.root(), busy, watch)
                .map_err(or_repair)?;
            builder
                .publish(&partial, &identity, unpacked)
                .map_err(failed)
        })
        .finish(&message, caller)
        .await
    }

    /// The right to build a tree; `None` when another process has built it meanwhile.
    async fn tree_builder(
        &self,
        cache: &TreeCache,
        identity: &Identity,
        what: &str,
        caller: &Caller,
    ) -> Result<Option<Builder>, Error> {
        let until = Instant::now() + PATIENCE;
        let mut told = false;
        loop {
            let lock = cache
                .try_lock(identity)
                .map_err(|error| host_io(what, &error))?;
            if let Some(builder) = lock {
                return Ok(cache.find(identity).is_none().then_some(builder));
            }
            if !told {
                told = true;
                let note = "another pyro is unpacking the environment, waiting".to_owned();
                caller.emit(Event::Note(note)).map_err(|_| cancelled())?;
            }
            if Instant::now() >= until {
                let seconds = PATIENCE.as_secs();
                return Err(Error::new(ErrorCode::HostIo, what).because(format!(
                    "another pyro has been unpacking it for more than {seconds} s"
                )));
            }
            sleep(TURN).await;
        }
    }

    /// Where trees may be, the place for new ones first.
    fn tree_caches(&self) -> [TreeCache; 2] {
        [&self.config().cache_dir, &self.config().state_dir]
            .map(|folder| TreeCache::at(folder.join("trees")))
    }

    /// Removes the trees of images that are not installed any more; tells names and bytes. Blocks.
    pub(crate) fn prune_trees(&self) -> (Vec<String>, u64) {
        let installed = self.catalog().all_installed();
        let ids = IdMap::of_caller().ok();
        let is_current = |identity: &Identity| {
            ids.iter().any(|ids| {
                let of = |installed| Identity::of(installed, ids.clone()) == *identity;
                installed.iter().any(of)
            })
        };
        let (mut names, mut freed) = (Vec::new(), 0);
        for cache in self.tree_caches() {
            let used = || self.used_cache_paths();
            let (removed, bytes) = cache.prune(is_current, |folder| {
                // When the records cannot be read it may be in use, so it is.
                used().map_or(true, |used| {
                    used.iter().any(|path| path.starts_with(folder))
                })
            });
            names.extend(removed);
            freed += bytes;
        }
        (names, freed)
    }
}

fn what(installed: &Installed) -> String {
    let name = installed.spec.name;
    format!("The files of environment `{name}` could not be unpacked")
}

fn no_place(what: &str) -> Error {
    Error::new(ErrorCode::HostIo, what)
        .because("neither the environment cache nor the state folder can be written")
        .hint("Make one of them writable, or set PYRO_ENVIRONMENT_CACHE_DIR to another folder")
}

/// An image that is damaged can be had again.
fn or_repair(error: Error) -> Error {
    match error.code {
        ErrorCode::Damaged => error.hint("Repair the image with `pyro env pull ENVIRONMENT`"),
        _ => error,
    }
}
