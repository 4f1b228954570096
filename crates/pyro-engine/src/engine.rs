//! The engine: what all operations share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pyro_api::Error;
use pyro_api::values::VmRecord;
use pyro_catalog::Catalog;
use pyro_wire::reached;

use crate::config::Config;
use crate::image_disks::ImageDisks;
use crate::machine::launch::Launched;
use crate::machine::owner::Owner;
use crate::machine::shim_client;
use crate::standby::pool::StandbyPool;
use crate::store::{Store, StoredVm};

/// Carries out operations. Cheap to make: nothing is read or written before an operation needs
/// it. The one-shot VMs that an engine starts end with it, whatever way it goes.
pub struct Engine {
    config: Config,
    catalog: Arc<Catalog>,
    store: OnceLock<Arc<Store>>,
    owner: OnceLock<Owner>,
    /// The VMs whose shims this engine started, and which end when their entry is dropped.
    launched: Mutex<HashMap<String, Launched>>,
    standby_pool: StandbyPool,
}

impl Engine {
    pub fn new(config: Config) -> Self {
        Self {
            catalog: Arc::new(
                Catalog::open(&config.cache_dir)
                    .with_disk_writer(Arc::new(ImageDisks::new(config.clone()))),
            ),
            config,
            store: OnceLock::new(),
            owner: OnceLock::new(),
            launched: Mutex::default(),
            standby_pool: StandbyPool::default(),
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    pub(crate) fn store(&self) -> Result<&Arc<Store>, Error> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = Store::open(&self.config.state_dir)?;
        reached!("store open");
        Ok(self.store.get_or_init(|| Arc::new(store)))
    }

    /// To be called once in a process that was forked from this one, which must leave the engine
    /// alone afterwards and never drop it: lets go of all that would keep VMs and commands alive
    /// when the parent has ended.
    pub fn release_after_fork(&self) {
        if let Some(owner) = self.owner.get() {
            owner.release_after_fork();
        }
        // Held by a thread that did not come along into this process: better none than a wrong one.
        if let Ok(launched) = self.launched.try_lock() {
            launched.values().for_each(Launched::release_after_fork);
        }
        self.standby_pool.release_after_fork();
        shim_client::release_after_fork();
    }

    /// This engine's mark on the VMs that are to end with it.
    pub(crate) fn owner(&self) -> Result<&Owner, Error> {
        if let Some(owner) = self.owner.get() {
            return Ok(owner);
        }
        let owner = Owner::register(&self.config.state_dir)?;
        Ok(self.owner.get_or_init(|| owner))
    }

    /// Writes the record of a VM that is this engine's from now on.
    pub(crate) fn put(&self, record: &VmRecord) -> Result<(), Error> {
        self.store()?.put_vm(&StoredVm {
            owner: self.owner()?.id().to_owned(),
            record: record.clone(),
        })?;
        Ok(())
    }

    pub(crate) fn launched(&self) -> MutexGuard<'_, HashMap<String, Launched>> {
        self.launched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn standby_pool(&self) -> &StandbyPool {
        &self.standby_pool
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Their supervisors end them when the engine is gone; a sweep gets records that stay.
        for vm_id in self.standby_pool.vm_ids() {
            if let Ok(store) = self.store() {
                let _ = store.remove_vm(&vm_id);
            }
        }
    }
}
