//! VMs that wait, resumed and warm, so that a command begins in some ten milliseconds.
//!
//! ```text
//! keep_standby ▶ keeper: create ▶ start ▶ warm up ▶ pause ▶ waiting ──vm_run──▶ leased: a VM like any
//!                  ▲                                          │               other, and its place is
//!                  └──────── after the command ◀──────────────┼────────────── free
//!                                              stale, dead, memory short ▶ ended
//! ```
//!
//! A first command in a guest takes three times as long as a second one, because QEMU must translate
//! all of its code first; and a sandbox takes most of its start to set up itself. One that waits has that
//! behind it; paused, it uses no processor. Its record
//! says that it waits and counts its memory. Who takes that record takes the VM: a run of this engine,
//! or anybody who needs the memory more. It ends with its engine like every one-shot VM.
//!
//! Nothing here is ever the error of a run: without a VM that waits, one is started.

pub(crate) mod pool;

pub use pool::Standby;

use std::sync::{Arc, Weak};
use std::time::Duration;

use pyro_api::values::{CommandLine, DeleteReason, EnvVars, TimeoutSeconds, TtlSeconds, VmRecord};
use pyro_api::{Caller, Error};
use pyro_wire::reached;
use tokio::sync::Notify;

use pool::{Origin, Waiting};

use crate::engine::Engine;
use crate::error::{catalog_failed, shim_failed, vm_died};
use crate::machine::command::{self, CommandSpec};
use crate::machine::create::VmRequest;
use crate::machine::facts::{STANDBY, TAKEN, WAITING, is_of_kind};
use crate::machine::isolation::{Asked, VmKind};
use crate::machine::one_shot::CleanupGuard;
use crate::machine::{now, shim_client};
use crate::store::StoredVm;
use crate::template::Shape;

/// When a VM that waits ends by itself, in seconds since 1970: with the year 9999. Its engine's end is
/// its own.
const NEVER: f64 = 253_402_300_799.0;

/// What a VM does before it waits: enough for QEMU to have translated what starting a program, a
/// shell and a pipe between them takes. Leaves no file and no process.
const WARM_UP: [&str; 3] = ["true", "true", "echo | cat >/dev/null"];

/// How often the keeper looks after its VMs unasked, for those that died or became stale.
const CHECK_EVERY: Duration = Duration::from_secs(30);

impl Engine {
    /// Keeps VMs of this shape waiting from now on, made in the background: [`VmRun`] takes one where
    /// it fits. Off until this is called; called again for the same shape it changes the count. Only
    /// for a process that lives on, as they end with the engine. To be called in a tokio runtime.
    ///
    /// [`VmRun`]: pyro_api::operations::vm_run::VmRun
    pub fn keep_standby(self: &Arc<Self>, standby: Standby) -> Result<(), Error> {
        let spec = self
            .catalog()
            .find(&standby.environment)
            .map_err(catalog_failed)?;
        // By the name that records have.
        let standby = Standby {
            environment: spec.name.to_owned(),
            ..standby
        };
        let mut inner = self.standby_pool().inner();
        inner.wanted.retain(|other| {
            Standby {
                count: standby.count,
                ..other.clone()
            } != standby
        });
        inner.wanted.push(standby);
        if inner.keeper.is_none() {
            let wake = Arc::clone(&self.standby_pool().wake);
            inner.keeper = Some(tokio::spawn(keep(Arc::downgrade(self), wake)));
        }
        drop(inner);
        self.standby_pool().wake_keeper();
        Ok(())
    }

    /// How many VMs wait now.
    pub fn standby_count(&self) -> usize {
        self.standby_pool().inner().waiting.len()
    }

    /// A VM that waited and is what was asked for, leased: started, and its time counts from now.
    pub(crate) async fn take_standby(
        &self,
        request: &VmRequest<'_>,
        caller: &Caller,
    ) -> Option<VmRecord> {
        // Why it can be nothing at all is told where a VM is made.
        let spec = self.named(request.environment, caller).await.ok()?;
        let kind = self.choose(request.asked(), spec, caller).await.ok()?.kind;
        if request.network {
            return None;
        }
        let fits = |waiting: &Waiting| {
            waiting.record.environment == spec.name
                && waiting.record.vcpu_count == request.vcpu_count.get()
                && waiting.record.mem_mib == request.mem_mib.get()
                && is_of_kind(&waiting.record, kind)
        };
        while let Some(waiting) = self.standby_pool().take(fits) {
            let current = self.origin(&waiting.record).await;
            if current.is_none_or(|current| current != waiting.origin) {
                self.drop_standby(waiting).await;
                continue;
            }
            reached!("standby found");
            if let Some(record) = self.lease(waiting, request).await {
                reached!("standby leased");
                return Some(record);
            }
        }
        None
    }

    async fn lease(&self, waiting: Waiting, request: &VmRequest<'_>) -> Option<VmRecord> {
        let Waiting {
            mut record,
            launched,
            ..
        } = waiting;
        let vm_id = record.vm_id.clone();
        let cleanup = CleanupGuard::new(self, &vm_id);
        record.created_at = now();
        record.ttl_seconds = request.ttl_seconds.get();
        record.expires_at = record.created_at + request.lifetime_seconds();
        record.allow_host_compat = request.allow_host_compat;
        record.metadata.extend([
            (STANDBY.to_owned(), TAKEN.to_owned()),
            (
                "allow_host_compat".to_owned(),
                request.allow_host_compat.to_string(),
            ),
        ]);
        let stored = StoredVm {
            owner: self.owner().ok()?.id().to_owned(),
            record: record.clone(),
        };
        // Somebody who needed its memory may have been faster.
        if !self.store().ok()?.claim_standby(&stored).ok()? {
            return None;
        }
        self.launched().insert(vm_id.clone(), launched);
        let expires_at_ms = (record.expires_at * 1000.0) as u64;
        shim_client::hand_out(&self.folder(&vm_id), expires_at_ms)
            .await
            .ok()?;
        cleanup.disarm();
        Some(record)
    }

    /// Ends the VMs that wait and are not what one made now would be, or died. A run may take any of
    /// them meanwhile.
    pub(crate) async fn drop_stale_standbys(&self) {
        let mut kept = Vec::new();
        for (record, origin) in self.standby_pool().made() {
            let current = self.origin(&record).await;
            if current.is_some_and(|current| current == origin)
                && self.folder(&record.vm_id).is_alive()
                && self.is_wanted(&record, &kept).await
            {
                kept.push(record);
            } else if let Some(stale) = self
                .standby_pool()
                .take(|vm| vm.record.vm_id == record.vm_id)
            {
                self.drop_standby(stale).await;
            }
        }
    }

    /// Whether one more like this is to wait, beside these.
    async fn is_wanted(&self, record: &VmRecord, others: &[VmRecord]) -> bool {
        let wanted = self.standby_pool().inner().wanted.clone();
        for standby in &wanted {
            if let Ok(kind) = self.kind_of(standby).await
                && standby.fits(record, kind)
                && others
                    .iter()
                    .filter(|other| standby.fits(other, kind))
                    .count()
                    < standby.count
            {
                return true;
            }
        }
        false
    }

    async fn drop_standby(&self, waiting: Waiting) {
        let vm_id = waiting.record.vm_id.clone();
        drop(waiting);
        // What stays behind is debris for the next sweep.
        let _ = self.end_vm(&vm_id, DeleteReason::ExplicitDelete).await;
    }

    /// Ends a VM that waits, of whatever engine, for its memory. False when there is none.
    pub(crate) async fn evict_standby(&self) -> Result<bool, Error> {
        for vm_id in self.store()?.standbys()? {
            // Otherwise somebody took it, and needs it.
            if self.store()?.evict_standby(&vm_id)? {
                self.standby_pool().take(|vm| vm.record.vm_id == vm_id);
                self.halt_vm(&vm_id, Duration::ZERO, true).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn fill_standbys(&self) {
        self.drop_stale_standbys().await;
        let wanted = self.standby_pool().inner().wanted.clone();
        for standby in wanted {
            loop {
                match self.add_standby(&standby).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        // The next round tries again; meanwhile VMs are started as they are needed.
                        let causes = error.causes.join(": ");
                        tracing::warn!(
                            "no standby VM could be kept ready: {}: {causes}",
                            error.error
                        );
                        break;
                    }
                }
            }
        }
    }

    /// Makes one of these, if there are not enough yet.
    async fn add_standby(&self, standby: &Standby) -> Result<bool, Error> {
        let pool = self.standby_pool();
        let is_wanted =
            standby.count > 0 && pool.count(standby, self.kind_of(standby).await?) < standby.count;
        if is_wanted {
            let waiting = self.make_standby(standby).await?;
            pool.inner().waiting.push_back(waiting);
        }
        Ok(is_wanted)
    }

    /// What these are here.
    async fn kind_of(&self, standby: &Standby) -> Result<VmKind, Error> {
        let spec = self
            .catalog()
            .find(&standby.environment)
            .map_err(catalog_failed)?;
        let asked = Asked {
            isolation: standby.isolation,
            allow_host_compat: false,
            network: false,
            keeps_files: false,
        };
        Ok(self.choose(asked, spec, &Caller::new()).await?.kind)
    }

    async fn make_standby(&self, standby: &Standby) -> Result<Waiting, Error> {
        let caller = Caller::new();
        let request = VmRequest {
            environment: &standby.environment,
            vcpu_count: standby.vcpu_count,
            mem_mib: standby.mem_mib,
            ttl_seconds: TtlSeconds::default(),
            min_lifetime_seconds: 0,
            network: false,
            allow_net: &[],
            allow_host_compat: false,
            isolation: standby.isolation,
            may_restart: false,
        };
        let (mut record, base) = self.create_vm(&request, &caller).await?;
        let vm_id = record.vm_id.clone();
        let cleanup = CleanupGuard::new(self, &vm_id);
        let origin = self.origin(&record).await.unwrap_or_default();
        record.expires_at = NEVER;
        record
            .metadata
            .insert(STANDBY.to_owned(), WAITING.to_owned());
        let launched = self.start_vm(&mut record, &base, &caller).await?;
        let folder = self.folder(&vm_id);
        let env = EnvVars::default();
        for line in WARM_UP {
            let stream = shim_client::agent(&folder)
                .await
                .map_err(|error| shim_failed(&vm_id, &error))?;
            let line = CommandLine::from(line.to_owned());
            let spec = CommandSpec::of(&line, None, &env, Some(TimeoutSeconds::default()))?;
            command::run(stream, &spec, &caller)
                .await
                .map_err(|error| vm_died(&vm_id, &error))?;
        }
        shim_client::pause(&folder)
            .await
            .map_err(|error| shim_failed(&vm_id, &error))?;
        self.store()?.put_standby(&StoredVm {
            owner: self.owner()?.id().to_owned(),
            record: record.clone(),
        })?;
        cleanup.disarm();
        Ok(Waiting {
            record,
            launched,
            origin,
        })
    }

    /// What a VM like this one would be made of now.
    async fn origin(&self, record: &VmRecord) -> Option<Origin> {
        let spec = self.catalog().find(&record.environment).ok()?;
        let installed = self.catalog().installed(spec).ok()??;
        if !installed.is_current() {
            return None;
        }
        let shape = Shape {
            vcpu_count: record.vcpu_count,
            mem_mib: record.mem_mib,
            network: record.network_enabled,
        };
        let made_by = if is_of_kind(record, VmKind::Gvisor) {
            let runsc = self.installed_runsc().ok()??;
            Some(format!("{} {}", runsc.path.display(), runsc.version))
        } else {
            self.template_key(&installed, shape).ok()?
        };
        Some((installed.rootfs_digest, made_by))
    }
}

/// Looks after the VMs that wait, for as long as there is an engine.
async fn keep(engine: Weak<Engine>, wake: Arc<Notify>) {
    loop {
        let _ = tokio::time::timeout(CHECK_EVERY, wake.notified()).await;
        // Held while it works; an engine that is dropped meanwhile ends when this does.
        match engine.upgrade() {
            Some(engine) => engine.fill_standbys().await,
            None => return,
        }
    }
}
