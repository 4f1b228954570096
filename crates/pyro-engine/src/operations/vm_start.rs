use async_trait::async_trait;
use pyro_api::operations::vm_start::VmStart;
use pyro_api::values::{VmRecord, VmState};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

#[async_trait]
impl Handle<VmStart> for Engine {
    async fn handle(&self, start: VmStart, caller: &Caller) -> Result<VmRecord, Error> {
        let mut record = self.vm(&start.vm_id).await?.record;
        if record.state == VmState::Started {
            return Err(crate::error::wrong_state(
                &record,
                "started",
                "created or stopped",
            ));
        }
        let base = self.base_of(&record, caller).await?;
        let launched = self.start_vm(&mut record, &base, caller).await;
        match launched {
            Ok(launched) => {
                self.launched().insert(record.vm_id.clone(), launched);
                Ok(record)
            }
            Err(error) => {
                // The VM stays as it was, so its memory is free again.
                let _ = self.put(&record);
                Err(error)
            }
        }
    }
}
