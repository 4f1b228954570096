use async_trait::async_trait;
use pyro_api::operations::shell_write::{ShellWrite, ShellWritten};
use pyro_api::{Caller, Error, Handle, Operation};
use pyro_wire::shells::ShellRequest;

use crate::Engine;
use crate::shells::record::record;
use crate::shells::requests::ShellContext;

#[async_trait]
impl Handle<ShellWrite> for Engine {
    async fn handle(&self, asked: ShellWrite, _caller: &Caller) -> Result<ShellWritten, Error> {
        asked.check()?;
        let context = ShellContext {
            shell: &asked.shell_id,
            doing: "take input",
        };
        let input_length = asked.input.chars().count() as u64;
        let mut input = asked.input.into_bytes();
        if asked.append_newline {
            input.push(b'\n');
        }
        let request = ShellRequest::Write {
            id: asked.shell_id.clone(),
            input: input.into(),
        };
        let written = self.ask_shell(&asked.workspace_id, context, request);
        let (stored, shell) = written.await?;
        Ok(ShellWritten {
            shell: record(&stored, &shell),
            input_length,
            append_newline: asked.append_newline,
        })
    }
}
