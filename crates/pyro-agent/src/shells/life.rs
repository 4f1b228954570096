//! The life of one shell, from its start until it is closed.

use std::sync::Arc;

use pyro_wire::fault::Fault;
use pyro_wire::shells::ShellOpen;
use tokio::sync::oneshot;

use super::shell::Shell;
use super::start::{Started, start};
use super::table::Shells;
use crate::launcher::{Launcher, Process};

/// Starts a shell, tells of it, and follows it until it is closed.
pub(super) async fn run(
    shells: Arc<Shells>,
    launcher: Arc<Launcher>,
    request: ShellOpen,
    opened: oneshot::Sender<Result<Arc<Shell>, Fault>>,
) {
    launcher.starts.allowed().await;
    let Started { pty, process, cwd } = match start(&launcher, &request) {
        Ok(started) => started,
        // Nobody waits any more: nobody can be told.
        Err(error) => return drop(opened.send(Err(error.fault()))),
    };
    let Process {
        leader,
        group,
        exit,
    } = process;
    let (shell, closing) = Shell::new(
        request,
        &cwd.to_string_lossy(),
        pty,
        leader,
        group.memory_events(),
        &launcher,
        Arc::clone(&shells.scrollback),
    );
    let shell = Arc::new(shell);
    if let Err(fault) = shells.add(Arc::clone(&shell)) {
        // The group kills as it drops.
        return drop(opened.send(Err(fault)));
    }
    if opened.send(Ok(Arc::clone(&shell))).is_err() {
        // Nobody knows its id.
        shells.remove(&shell.id);
        return;
    }
    shell.run(group, exit, closing).await;
}
