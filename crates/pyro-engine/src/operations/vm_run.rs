use async_trait::async_trait;
use pyro_api::operations::vm_run::VmRun;
use pyro_api::values::ExecResult;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

#[async_trait]
impl Handle<VmRun> for Engine {
    async fn handle(&self, run: VmRun, caller: &Caller) -> Result<ExecResult, Error> {
        run.check()?;
        self.run_once(&run, caller).await
    }
}
