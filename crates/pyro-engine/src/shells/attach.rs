//! A person's terminal on a shell.
//!
//! ```text
//! terminal taken ▶ what is kept is painted ▶ output to it, keys and sizes from it
//!                     ▶ detach keys, the person gone ▶ the shell runs on
//!                     ▶ the shell ends               ▶ its exit code
//! ```
//!
//! The terminal is itself again when this future ends, however it does.

use pyro_api::operations::shell_attach::{ShellAttach, ShellLeft};
use pyro_api::operations::shell_open::ShellOpen;
use pyro_api::values::{EnvVars, SecretEnv, ShellCols, ShellRows, WORKSPACE_PATH};
use pyro_api::{Caller, Error, PersonTerminal, TakenTerminal, TerminalEvent};
use pyro_wire::frame::{self, FrameError, Kind};
use pyro_wire::shells::{
    AttachControl, AttachEvent, MAX_TERMINAL_SIDE, Shell, ShellEnd, ShellRequest, Size,
};
use serde::Serialize;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::errors::no_terminal;
use super::keys::{Keys, Typed};
use super::record::record;
use super::requests::ShellContext;
use crate::engine::Engine;
use crate::error::host_io;

/// How many pieces of input wait for a guest that does not take them.
const READ_AHEAD: usize = 16;

/// How long the guest may take for what was typed just before a person left.
const DRAIN: Duration = Duration::from_secs(2);

/// Takes a person's terminal, with its events.
pub(crate) fn take(
    terminal: &dyn PersonTerminal,
) -> Result<(Box<dyn TakenTerminal>, mpsc::Receiver<TerminalEvent>), Error> {
    let (on_event, events) = mpsc::channel(READ_AHEAD);
    let on_event = move |what| {
        // Nobody listens any more when what wanted it has ended.
        let _ = on_event.blocking_send(what);
    };
    let taken = terminal
        .take(Box::new(on_event))
        .map_err(|error| host_io("The terminal could not be used", &error))?;
    Ok((taken, events))
}

/// Empties the screen and begins at its top.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

/// How it came to an end.
enum Outcome {
    Detached,
    Ended(Option<ShellEnd>),
}

impl Engine {
    pub(crate) async fn attach_shell(
        &self,
        asked: ShellAttach,
        caller: &Caller,
    ) -> Result<ShellLeft, Error> {
        let terminal = caller.terminal().ok_or_else(no_terminal)?;
        let (shell_id, is_new) = match asked.shell_id {
            Some(shell_id) => (shell_id, false),
            None => {
                let open = ShellOpen {
                    workspace_id: asked.workspace_id.clone(),
                    cwd: WORKSPACE_PATH.to_owned(),
                    cols: ShellCols::default(),
                    rows: ShellRows::default(),
                    secret_env: SecretEnv::default(),
                    env: EnvVars::default(),
                    user: None,
                };
                let (_, shell, _) = self.open_shell(&open, true, caller).await?;
                (shell.id, true)
            }
        };
        let context = ShellContext {
            shell: &shell_id,
            doing: "show a shell",
        };
        let (stored, mut stream) = self.connect_to_shell(&asked.workspace_id, context).await?;
        let (taken, events) = take(terminal)?;
        let request = ShellRequest::Attach {
            id: shell_id.clone(),
            size: size_of(taken.size()),
        };
        let kept = self.ask_output(&stored, &mut stream, context, request, Duration::ZERO);
        let kept = kept.await?;
        let mut shell = kept.shell.clone();
        if !is_new {
            paint(taken.as_ref(), &shell, kept.text).await;
        } else {
            let _ = taken.show(kept.text.as_bytes());
        }

        let (mut from_guest, mut to_guest) = stream.into_split();
        let keys = Keys::new(asked.detach_keys.bytes());
        let left = tokio::select! {
            left = show(&mut from_guest, taken.as_ref()) => left,
            typed = forward_input(events, &mut to_guest, keys, AttachControl::Resize) => typed.map(|()| Outcome::Detached),
        };
        // It followed the terminal.
        shell.size = size_of(taken.size());
        drop(taken);
        if matches!(left, Ok(Outcome::Detached)) {
            // What was typed last may still be on its way, and would be lost with the line.
            let _ = to_guest.shutdown().await;
            let mut nowhere = tokio::io::sink();
            let rest = tokio::io::copy(&mut from_guest, &mut nowhere);
            let _ = timeout(DRAIN, rest).await;
        }
        let left = match left {
            Ok(left) => left,
            Err(error) => return Err(self.shell_broken(&stored, context, &error).await),
        };
        let detached = match left {
            Outcome::Detached => true,
            Outcome::Ended(end) => {
                shell.end = end.or(shell.end);
                false
            }
        };
        if is_new && !detached {
            // Nobody but this terminal knew of it.
            let id = shell.id.clone();
            let close = self.ask_shell(&asked.workspace_id, context, ShellRequest::Close { id });
            let _ = close.await;
        }
        Ok(ShellLeft {
            shell: record(&stored, &shell),
            detached,
        })
    }
}

/// Shows the screen as it is, and switches on what the program in it has switched on.
async fn paint(taken: &dyn TakenTerminal, shell: &Shell, text: String) {
    let size = shell.size;
    let painted = tokio::task::spawn_blocking(move || {
        let mut modes = pyro_screen::ScreenModes::default();
        modes.feed(text.as_bytes());
        pyro_screen::repaint(size, &text) + &modes.repeat()
    });
    let painted = painted.await.unwrap_or_default();
    // A terminal that is gone shows again, at the next output.
    let _ = taken.show(CLEAR);
    let _ = taken.show(painted.as_bytes());
}

async fn show(
    from_guest: &mut (impl AsyncRead + Unpin),
    taken: &dyn TakenTerminal,
) -> Result<Outcome, FrameError> {
    loop {
        let frame = frame::read(from_guest).await?.ok_or(FrameError::Ended)?;
        if frame.kind == Kind::Output {
            if taken.show(&frame.body).is_err() {
                return Ok(Outcome::Detached);
            }
            continue;
        }
        match frame.message()? {
            AttachEvent::Ended(end) => return Ok(Outcome::Ended(end)),
            // The next full repaint of whatever runs there puts the screen right.
            AttachEvent::Lost(_) => {}
        }
    }
}

/// Ends when the person leaves.
pub(crate) async fn forward_input<Control: Serialize>(
    mut events: mpsc::Receiver<TerminalEvent>,
    to_guest: &mut (impl AsyncWrite + Unpin),
    mut keys: Keys<'_>,
    resize: impl Fn(Size) -> Control,
) -> Result<(), FrameError> {
    while let Some(what) = events.recv().await {
        match what {
            TerminalEvent::Input(bytes) => {
                let Typed { pass, detach } = keys.typed(&bytes);
                frame::write_data(to_guest, Kind::Input, &pass).await?;
                if detach {
                    return Ok(());
                }
            }
            TerminalEvent::Resized { cols, rows } => {
                let control = resize(size_of((cols, rows)));
                frame::write_message(to_guest, &control).await?;
            }
            TerminalEvent::HungUp => return Ok(()),
        }
    }
    Ok(())
}

pub(crate) fn size_of((cols, rows): (u16, u16)) -> Size {
    Size {
        cols: cols.clamp(1, MAX_TERMINAL_SIDE),
        rows: rows.clamp(1, MAX_TERMINAL_SIDE),
    }
}
