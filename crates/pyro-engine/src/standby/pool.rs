//! The VMs of one engine that wait, and what they are to be. Only kept here; [`super`] makes and ends
//! them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyro_api::values::{Isolation, MemMib, VcpuCount, VmRecord};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::machine::facts::is_of_kind;
use crate::machine::isolation::VmKind;
use crate::machine::launch::Launched;

/// VMs that an engine is to keep waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    pub environment: String,
    pub vcpu_count: VcpuCount,
    pub mem_mib: MemMib,
    /// What they are kept apart from this host by, as a run says it; nothing means what runs get that say
    /// nothing of it.
    pub isolation: Option<Isolation>,
    /// How many at a time; 0 ends those that wait.
    pub count: usize,
}

impl Standby {
    /// Of the shape that a run has when nobody says more than the environment.
    pub fn usual(environment: impl Into<String>, count: usize) -> Self {
        Self {
            environment: environment.into(),
            vcpu_count: VcpuCount::default(),
            mem_mib: MemMib::default(),
            isolation: None,
            count,
        }
    }

    /// Whether the record is of such a VM, `kind` being what they are here.
    pub(super) fn fits(&self, record: &VmRecord, kind: VmKind) -> bool {
        is_of_kind(record, kind)
            && self.environment == record.environment
            && self.vcpu_count.get() == record.vcpu_count
            && self.mem_mib.get() == record.mem_mib
    }
}

/// The waiting VMs of one engine.
#[derive(Default)]
pub(crate) struct StandbyPool {
    inner: Mutex<Inner>,
    /// Something was taken, or other VMs are wanted.
    pub(super) wake: Arc<Notify>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) wanted: Vec<Standby>,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) keeper: Option<JoinHandle<()>>,
}

pub(super) struct Waiting {
    pub(super) record: VmRecord,
    pub(super) launched: Launched,
    /// What it was made of.
    pub(super) origin: Origin,
}

/// Everything that shapes a VM: one that differs in it from a VM made now is stale.
pub(super) type Origin = (String, Option<String>);

impl StandbyPool {
    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the keeper look after its VMs now, when no command needs the processors.
    pub(crate) fn wake_keeper(&self) {
        self.wake.notify_one();
    }

    /// The VMs that wait.
    pub(crate) fn vm_ids(&self) -> Vec<String> {
        let inner = self.inner();
        let ids = inner.waiting.iter().map(|vm| vm.record.vm_id.clone());
        ids.collect()
    }

    /// The VMs that wait, and what each was made of.
    pub(super) fn made(&self) -> Vec<(VmRecord, Origin)> {
        let inner = self.inner();
        let waiting = inner.waiting.iter();
        waiting
            .map(|vm| (vm.record.clone(), vm.origin.clone()))
            .collect()
    }

    /// See [`Engine::release_after_fork`].
    pub(crate) fn release_after_fork(&self) {
        if let Ok(inner) = self.inner.try_lock() {
            let waiting = inner.waiting.iter();
            waiting.for_each(|vm| vm.launched.release_after_fork());
        }
    }

    pub(super) fn take(&self, fits: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let mut inner = self.inner();
        let at = inner.waiting.iter().position(fits)?;
        inner.waiting.remove(at)
    }

    pub(super) fn count(&self, standby: &Standby, kind: VmKind) -> usize {
        let inner = self.inner();
        let records = inner.waiting.iter().map(|vm| &vm.record);
        records.filter(|record| standby.fits(record, kind)).count()
    }
}

impl Drop for StandbyPool {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if let Some(keeper) = inner.unwrap_or_else(PoisonError::into_inner).keeper.take() {
            keeper.abort();
        }
    }
}
