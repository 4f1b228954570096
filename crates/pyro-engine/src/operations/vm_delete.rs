use async_trait::async_trait;
use pyro_api::operations::vm_delete::VmDelete;
use pyro_api::values::{DeleteReason, VmDeleted};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

#[async_trait]
impl Handle<VmDelete> for Engine {
    async fn handle(&self, delete: VmDelete, _caller: &Caller) -> Result<VmDeleted, Error> {
        let record = self.vm(&delete.vm_id).await?.record;
        self.end_vm(&record.vm_id, DeleteReason::ExplicitDelete)
            .await
    }
}
