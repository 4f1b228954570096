//! Serves requests about shells.

use std::sync::Arc;

use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, FrameError};
use pyro_wire::shells::{ShellOpen, ShellReply, ShellRequest, Size};
use tokio::sync::oneshot;

use super::shell::{LongLines, Shell};
use super::table::Shells;
use super::{attach, life};
use crate::launcher::Launcher;
use crate::lifecycle::Lifecycle;
use crate::peer::{Peer, Reader, Writer};
use crate::pty::check_size;

/// Serves one request about shells.
pub(crate) async fn serve<P: Peer>(
    shells: &Arc<Shells>,
    launcher: &Arc<Launcher>,
    lifecycle: &Lifecycle,
    request: ShellRequest,
    from: &mut Reader<P>,
    to: &mut Writer<P>,
) -> Result<(), FrameError> {
    let reply = match request {
        ShellRequest::Attach { id, size } => match attachable(shells, &id, size) {
            Ok(shell) => return attach::run(&shell, from, to).await,
            Err(fault) => Err(fault),
        },
        request => answer(shells, launcher, lifecycle, request).await,
    };
    let reply = reply.unwrap_or_else(ShellReply::Failed);
    frame::write_message(to, &reply).await
}

async fn answer(
    shells: &Arc<Shells>,
    launcher: &Arc<Launcher>,
    lifecycle: &Lifecycle,
    request: ShellRequest,
) -> Result<ShellReply, Fault> {
    let find = |id: &str| shells.find(id);
    let shell = match request {
        ShellRequest::Open(request) => open(shells, launcher, lifecycle, request).await?,
        ShellRequest::Read(request) => {
            let shell = find(&request.id)?;
            return Ok(ShellReply::Output(shell.read(&request).await));
        }
        ShellRequest::Write { id, input } => {
            let shell = find(&id)?;
            shell.write(&input, LongLines::Refused).await?;
            shell
        }
        ShellRequest::Signal { id, number } => {
            let shell = find(&id)?;
            shell.signal(number)?;
            shell
        }
        ShellRequest::Resize { id, size } | ShellRequest::Attach { id, size } => {
            attachable(shells, &id, size)?
        }
        ShellRequest::Close { id } => {
            let shell = find(&id)?;
            shell.close().await;
            shells.remove(&shell.id);
            shell
        }
    };
    Ok(ShellReply::Shell(shell.info()))
}

async fn open(
    shells: &Arc<Shells>,
    launcher: &Arc<Launcher>,
    lifecycle: &Lifecycle,
    request: ShellOpen,
) -> Result<Arc<Shell>, Fault> {
    lifecycle.ready_for("shells")?;
    check_size(request.size)?;
    let is_id = request.id.len() == 12
        && (request.id.bytes()).all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_id {
        return Err(Fault::new(FaultCode::Refused, "no shell can have this id"));
    }
    let (opened, opening) = oneshot::channel();
    let life = life::run(Arc::clone(shells), Arc::clone(launcher), request, opened);
    tokio::spawn(life);
    opening
        .await
        .unwrap_or_else(|_| Err(Fault::new(FaultCode::Refused, "the shell did not start")))
}

/// The shell, in its new size.
fn attachable(shells: &Shells, id: &str, size: Size) -> Result<Arc<Shell>, Fault> {
    check_size(size)?;
    let shell = shells.find(id)?;
    shell.resize(size)?;
    Ok(shell)
}
