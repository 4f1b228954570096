use async_trait::async_trait;
use pyro_api::operations::vm_status::VmStatus;
use pyro_api::values::VmRecord;
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

#[async_trait]
impl Handle<VmStatus> for Engine {
    async fn handle(&self, status: VmStatus, _caller: &Caller) -> Result<VmRecord, Error> {
        Ok(self.vm(&status.vm_id).await?.record)
    }
}
