use async_trait::async_trait;
use pyro_api::operations::shell_signal::{ShellSignalSend, ShellSignalled};
use pyro_api::values::ShellSignal;
use pyro_api::{Caller, Error, Handle, Operation};
use pyro_wire::shells::ShellRequest;

use crate::Engine;
use crate::shells::record::record;
use crate::shells::requests::ShellContext;

#[async_trait]
impl Handle<ShellSignalSend> for Engine {
    async fn handle(
        &self,
        asked: ShellSignalSend,
        _caller: &Caller,
    ) -> Result<ShellSignalled, Error> {
        asked.check()?;
        let context = ShellContext {
            shell: &asked.shell_id,
            doing: "take a signal",
        };
        let request = ShellRequest::Signal {
            id: asked.shell_id.clone(),
            number: number(asked.signal_name),
        };
        let signalled = self.ask_shell(&asked.workspace_id, context, request);
        let (stored, shell) = signalled.await?;
        Ok(ShellSignalled {
            shell: record(&stored, &shell),
            signal: asked.signal_name,
        })
    }
}

/// The number it has on Linux, which is what runs in the guest.
fn number(signal: ShellSignal) -> i32 {
    match signal {
        ShellSignal::Hup => 1,
        ShellSignal::Int => 2,
        ShellSignal::Kill => 9,
        ShellSignal::Term => 15,
    }
}
