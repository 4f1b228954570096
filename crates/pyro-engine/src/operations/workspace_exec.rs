use async_trait::async_trait;
use pyro_api::operations::workspace_exec::WorkspaceExec;
use pyro_api::values::WorkspaceExecResult;
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

#[async_trait]
impl Handle<WorkspaceExec> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceExec,
        caller: &Caller,
    ) -> Result<WorkspaceExecResult, Error> {
        asked.check()?;
        self.exec_in_workspace(&asked, caller).await
    }
}
