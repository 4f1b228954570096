use async_trait::async_trait;
use pyro_api::operations::vm_reap_expired::{Reaped, VmReapExpired};
use pyro_api::values::DeleteReason;
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::machine::lookup::is_expired;
use crate::machine::{now, sweep};

#[async_trait]
impl Handle<VmReapExpired> for Engine {
    async fn handle(&self, _: VmReapExpired, _caller: &Caller) -> Result<Reaped, Error> {
        let mut deleted_vm_ids = sweep::sweep(&self.config().state_dir, self.store()?)?;
        // Their shims end them too; this is for those that are late.
        for vm in self.store()?.vms()? {
            let record = vm?.record;
            if is_expired(&record, now()) {
                self.end_vm(&record.vm_id, DeleteReason::ExplicitDelete)
                    .await?;
                deleted_vm_ids.push(record.vm_id);
            }
        }
        deleted_vm_ids.sort();
        Ok(Reaped {
            count: deleted_vm_ids.len(),
            deleted_vm_ids,
        })
    }
}
