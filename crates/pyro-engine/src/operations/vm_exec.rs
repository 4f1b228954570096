use pyro_api::operations::vm_exec::VmExec;
use pyro_api::values::{ExecResult, VmState};
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;
use crate::machine::one_shot::{Abandoned, Job};

impl Handle<VmExec> for Engine {
    async fn handle(&self, exec: VmExec, caller: &Caller) -> Result<ExecResult, Error> {
        exec.check()?;
        let record = self.vm(&exec.vm_id).await?.record;
        if record.state != VmState::Started {
            return Err(crate::error::wrong_state(
                &record,
                "used for a command",
                "started",
            ));
        }
        let job = Job {
            command: &exec.command,
            limit: Some(exec.timeout_seconds),
            terminal: None,
        };
        let abandoned = Abandoned::guard(self, &record.vm_id);
        let result = self.exec_and_end(&record, job, caller).await;
        abandoned.disarm();
        result
    }
}
