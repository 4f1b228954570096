use std::time::Duration;

use async_trait::async_trait;
use pyro_api::operations::shell_read::{ShellRead, ShellText};
use pyro_api::values::{MaxChars, WaitForIdleMs};
use pyro_api::{Caller, Error, ErrorCode, Handle, Operation};
use pyro_wire::shells::{ShellRead as Read, ShellRequest};

use crate::Engine;
use crate::answers;
use crate::shells::record::record;
use crate::shells::requests::{ShellContext, invalid_reply};

/// A shell that never pauses does not keep anybody waiting for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What was on the screen before a part of the output is known from so many characters.
const BEFORE_CHARS: u64 = 64 * 1024;

#[async_trait]
impl Handle<ShellRead> for Engine {
    async fn handle(&self, asked: ShellRead, caller: &Caller) -> Result<ShellText, Error> {
        asked.check()?;
        let context = ShellContext {
            shell: &asked.shell_id,
            doing: "show its output",
        };
        let (stored, mut stream) = self.connect_to_shell(&asked.workspace_id, context).await?;
        let wait_for_idle_ms = asked.wait_for_idle_ms.map(WaitForIdleMs::get);
        let max_chars = u64::from(asked.max_chars.get());
        let request = ShellRequest::Read(Read {
            id: asked.shell_id.clone(),
            cursor: asked.cursor,
            max_chars,
            before_chars: if asked.plain { BEFORE_CHARS } else { 0 },
            idle_ms: wait_for_idle_ms.map(u64::from),
            at_most_ms: LONGEST_WAIT.as_millis() as u64,
        });
        let wait = match wait_for_idle_ms {
            Some(_) => LONGEST_WAIT,
            None => Duration::ZERO,
        };
        let reply = self.ask_output(&stored, &mut stream, context, request, wait);
        let mut read = reply.await?;
        if read.text.chars().count() as u64 > max_chars {
            return Err(invalid_reply(&stored, context).because("it sent more than was requested"));
        }
        if caller.is_model() && asked.max_chars == MaxChars::default() {
            // So many characters may be four times as many bytes.
            read.more |= answers::cut(&mut read.text, asked.max_chars.get() as usize);
        }
        let count = read.text.chars().count() as u64;
        let shell = record(&stored, &read.shell);
        let output = match asked.plain {
            false => read.text,
            true => {
                let (size, before, text) = (read.shell.size, read.before, read.text);
                tokio::task::spawn_blocking(move || pyro_screen::visible_text(size, &before, &text))
                    .await
                    .map_err(|error| {
                        Error::new(
                            ErrorCode::Internal,
                            "The output could not be converted to plain text",
                        )
                        .caused_by(&error)
                    })?
            }
        };
        Ok(ShellText {
            shell,
            cursor: read.cursor,
            next_cursor: read.cursor.saturating_add(count),
            output,
            truncated: read.more,
            plain: asked.plain,
            wait_for_idle_ms,
            lost_chars: read.cursor.saturating_sub(asked.cursor),
        })
    }
}
