use async_trait::async_trait;
use pyro_api::operations::vm_create::VmCreate;
use pyro_api::values::VmRecord;
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::machine::create::VmRequest;
use crate::machine::sweep;

#[async_trait]
impl Handle<VmCreate> for Engine {
    async fn handle(&self, create: VmCreate, caller: &Caller) -> Result<VmRecord, Error> {
        sweep::sweep(&self.config().state_dir, self.store()?)?;
        let request = VmRequest {
            environment: &create.environment,
            vcpu_count: create.vcpu_count,
            mem_mib: create.mem_mib,
            ttl_seconds: create.ttl_seconds,
            min_lifetime_seconds: 0,
            network: create.network,
            allow_net: &create.allow_net,
            allow_host_compat: create.allow_host_compat,
            isolation: create.isolation,
            may_restart: true,
        };
        Ok(self.create_vm(&request, caller).await?.0)
    }
}
