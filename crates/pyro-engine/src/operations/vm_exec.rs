use async_trait::async_trait;
use pyro_api::operations::vm_exec::VmExec;
use pyro_api::values::{ExecResult, VmState};
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;
use crate::machine::command::CommandSpec;
use crate::machine::one_shot::CleanupGuard;

#[async_trait]
impl Handle<VmExec> for Engine {
    async fn handle(&self, exec: VmExec, caller: &Caller) -> Result<ExecResult, Error> {
        exec.check()?;
        let spec = CommandSpec::of(
            &exec.command,
            exec.cwd.as_deref(),
            &exec.env,
            Some(exec.timeout_seconds),
        )?;
        let record = self.vm(&exec.vm_id).await?.record;
        if record.state != VmState::Started {
            return Err(crate::error::wrong_state(
                &record,
                "used for a command",
                "started",
            ));
        }
        let cleanup = CleanupGuard::new(self, &record.vm_id);
        let result = self
            .exec_and_end(&record, &spec, exec.user.as_ref(), None, caller)
            .await;
        cleanup.disarm();
        result
    }
}
