use async_trait::async_trait;
use pyro_api::operations::shell_attach::{ShellAttach, ShellLeft};
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

#[async_trait]
impl Handle<ShellAttach> for Engine {
    async fn handle(&self, asked: ShellAttach, caller: &Caller) -> Result<ShellLeft, Error> {
        asked.check()?;
        self.attach_shell(asked, caller).await
    }
}
