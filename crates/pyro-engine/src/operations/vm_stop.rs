use std::time::Duration;

use async_trait::async_trait;
use pyro_api::operations::vm_stop::VmStop;
use pyro_api::values::{VmRecord, VmState};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

/// How long the guest may take to end its processes and flush its disk.
const GRACE: Duration = Duration::from_secs(10);

#[async_trait]
impl Handle<VmStop> for Engine {
    async fn handle(&self, stop: VmStop, _caller: &Caller) -> Result<VmRecord, Error> {
        let mut record = self.vm(&stop.vm_id).await?.record;
        if record.state == VmState::Started {
            self.halt_vm(&record.vm_id, GRACE, false).await?;
        }
        record.state = VmState::Stopped;
        self.put(&record)?;
        Ok(record)
    }
}
