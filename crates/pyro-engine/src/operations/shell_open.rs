use async_trait::async_trait;
use pyro_api::operations::shell_open::{ShellOpen, ShellOpened};
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;
use crate::shells::record::record;

#[async_trait]
impl Handle<ShellOpen> for Engine {
    async fn handle(&self, asked: ShellOpen, caller: &Caller) -> Result<ShellOpened, Error> {
        asked.check()?;
        let (stored, shell, workspace_started) = self.open_shell(&asked, false, caller).await?;
        Ok(ShellOpened {
            shell: record(&stored, &shell),
            workspace_started,
        })
    }
}
