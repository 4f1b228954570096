//! Requests about shells, and what comes back. Nothing that a guest says is believed blindly.

use std::time::Duration;

use pyro_api::values::{ExecutionMode, VmState};
use pyro_api::{Error, ErrorCode};
use pyro_wire::agent::AgentRequest;
use pyro_wire::frame::{self, FrameError};
use pyro_wire::shells::{Shell, ShellOutput, ShellReply, ShellRequest};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::errors::{all_gone, only_in_guests, refused};
use crate::engine::Engine;
use crate::machine::{end, shim_client};
use crate::store::StoredWorkspace;
use crate::workspace::errors::{STOP_IT, shim_unreachable};
use crate::workspace::find::tombstone;
use crate::workspace::lock::LockMode;

/// How much longer than it was asked to wait an agent may take. Closing takes up to fifteen
/// seconds by itself.
const ANSWER: Duration = Duration::from_secs(30);

/// What a request is about, for errors.
#[derive(Clone, Copy)]
pub(crate) struct ShellContext<'a> {
    pub(crate) shell: &'a str,
    /// Completes "could not be asked to …".
    pub(crate) doing: &'a str,
}

impl Engine {
    /// A line to a workspace that runs: for a shell, no VM is started that cannot have it.
    pub(crate) async fn connect_to_shell(
        &self,
        reference: &str,
        context: ShellContext<'_>,
    ) -> Result<(StoredWorkspace, UnixStream), Error> {
        let id = self.find_workspace(reference)?.record.workspace_id;
        let _held = self
            .workspace_folder(&id)
            .lock(&id, LockMode::Shared)
            .await?;
        let stored = self.reload_workspace(&id)?;
        let record = &stored.record;
        if record.execution_mode == ExecutionMode::HostCompat {
            return Err(only_in_guests(&id));
        }
        if record.state != VmState::Started {
            let why = record.stopped_because.as_deref();
            return Err(all_gone(&id, context.shell, why));
        }
        match shim_client::agent(&self.vm_of(&stored)).await {
            Ok(stream) => Ok((stored, stream)),
            Err(error) => {
                // It may just be stopping for want of use.
                let now = self.reload_workspace(&id)?;
                match now.record.state {
                    VmState::Started => Err(shim_unreachable(&id, context.doing, &error)),
                    _ => Err(all_gone(
                        &id,
                        context.shell,
                        now.record.stopped_because.as_deref(),
                    )),
                }
            }
        }
    }

    /// Asks for something that is answered by what the shell is then.
    pub(crate) async fn ask_shell(
        &self,
        reference: &str,
        context: ShellContext<'_>,
        request: ShellRequest,
    ) -> Result<(StoredWorkspace, Shell), Error> {
        let (stored, mut stream) = self.connect_to_shell(reference, context).await?;
        let reply = self.ask(&stored, &mut stream, context, request, Duration::ZERO);
        match reply.await? {
            ShellReply::Shell(shell) if is_called(&shell, context.shell) => Ok((stored, shell)),
            _ => Err(invalid_reply(&stored, context)),
        }
    }

    /// Asks for output.
    pub(crate) async fn ask_output(
        &self,
        stored: &StoredWorkspace,
        stream: &mut UnixStream,
        context: ShellContext<'_>,
        request: ShellRequest,
        wait: Duration,
    ) -> Result<ShellOutput, Error> {
        match self.ask(stored, stream, context, request, wait).await? {
            ShellReply::Output(output) if is_called(&output.shell, context.shell) => Ok(output),
            _ => Err(invalid_reply(stored, context)),
        }
    }

    pub(crate) async fn ask(
        &self,
        stored: &StoredWorkspace,
        stream: &mut UnixStream,
        context: ShellContext<'_>,
        request: ShellRequest,
        wait: Duration,
    ) -> Result<ShellReply, Error> {
        let id = &stored.record.workspace_id;
        let exchange = async {
            frame::write_message(stream, &AgentRequest::Shell(request)).await?;
            frame::read_message(stream).await
        };
        match timeout(wait + ANSWER, exchange).await {
            Ok(Ok(ShellReply::Failed(fault))) => {
                Err(refused(id, context.shell, context.doing, fault))
            }
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(self.shell_broken(stored, context, &error).await),
            Err(_) => Err(invalid_reply(stored, context).because("it did not answer in time")),
        }
    }

    /// Why a line to a shell broke. Its VM may still be writing down why it ended.
    pub(crate) async fn shell_broken(
        &self,
        stored: &StoredWorkspace,
        context: ShellContext<'_>,
        error: &FrameError,
    ) -> Error {
        match error {
            FrameError::CutOff | FrameError::Ended | FrameError::Io { .. } => {
                let vm = self.vm_of(stored);
                let _ = end::wait_until_gone(&vm, end::EXIT_TIMEOUT).await;
                let id = &stored.record.workspace_id;
                self.went_away(id, context.doing, tombstone(&vm))
            }
            other => invalid_reply(stored, context).because(other),
        }
    }
}

/// Whether it is the shell that was asked for: what is shown as its id may be any text otherwise.
fn is_called(shell: &Shell, asked: &str) -> bool {
    let is_id = shell.id.len() == 12
        && (shell.id.bytes()).all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id && shell.id.starts_with(asked)
}

pub(crate) fn invalid_reply(stored: &StoredWorkspace, context: ShellContext<'_>) -> Error {
    Error::new(
        ErrorCode::VmDied,
        format!(
            "The agent of workspace `{}` could not {}",
            stored.record.workspace_id, context.doing
        ),
    )
    .hint(STOP_IT)
}
