use async_trait::async_trait;
use pyro_api::operations::shell_close::{ShellClose, ShellClosed};
use pyro_api::{Caller, Error, Handle, Operation};
use pyro_wire::shells::ShellRequest;

use crate::Engine;
use crate::shells::record::record;
use crate::shells::requests::ShellContext;

#[async_trait]
impl Handle<ShellClose> for Engine {
    async fn handle(&self, asked: ShellClose, _caller: &Caller) -> Result<ShellClosed, Error> {
        asked.check()?;
        let context = ShellContext {
            shell: &asked.shell_id,
            doing: "close",
        };
        let request = ShellRequest::Close {
            id: asked.shell_id.clone(),
        };
        let closed = self.ask_shell(&asked.workspace_id, context, request);
        let (stored, shell) = closed.await?;
        Ok(ShellClosed {
            shell: record(&stored, &shell),
            closed: true,
        })
    }
}
