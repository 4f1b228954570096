//! A person's terminal on a shell: what is kept, then what comes, and what is typed.

use pyro_wire::frame::{self, FrameError, Kind};
use pyro_wire::shells::{AttachControl, AttachEvent, ShellOutput, ShellReply};

use super::shell::{LongLines, Shell};
use crate::peer::{Peer, Reader, Writer};
use crate::pty::check_size;

/// What is sent at once.
const AT_ONCE: u64 = 16 * 1024;

/// Serves until the shell ends or the terminal is gone.
pub(super) async fn run<P: Peer>(
    shell: &Shell,
    from: &mut Reader<P>,
    to: &mut Writer<P>,
) -> Result<(), FrameError> {
    tokio::select! {
        shown = show(shell, to) => shown,
        () = follow(shell, from) => Err(FrameError::Ended),
    }
}

async fn show<P: Peer>(shell: &Shell, to: &mut Writer<P>) -> Result<(), FrameError> {
    // Before the first look, so that nothing is missed after it.
    let mut changes = shell.changes();
    let piece = shell.piece(0, u64::MAX, 0);
    let mut cursor = piece.cursor + piece.text.chars().count() as u64;
    let kept = ShellOutput {
        shell: shell.info(),
        cursor: piece.cursor,
        before: piece.before,
        text: piece.text,
        more: piece.more,
    };
    frame::write_message(to, &ShellReply::Output(kept)).await?;
    loop {
        // Looked at first: what came before the end is shown before it.
        let (end, is_closed) = (shell.end(), shell.is_closed());
        let piece = shell.piece(cursor, AT_ONCE, 0);
        if piece.cursor > cursor {
            frame::write_message(to, &AttachEvent::Lost(piece.cursor - cursor)).await?;
        }
        cursor = piece.cursor + piece.text.chars().count() as u64;
        frame::write_data(to, Kind::Output, piece.text.as_bytes()).await?;
        if piece.more {
            continue;
        }
        if end.is_some() || is_closed {
            return frame::write_message(to, &AttachEvent::Ended(shell.end())).await;
        }
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Ends when the terminal is gone.
async fn follow<P: Peer>(shell: &Shell, from: &mut Reader<P>) {
    // After a frame that cannot be read nothing that follows can be trusted either.
    while let Ok(Some(frame)) = frame::read(from).await {
        match frame.kind {
            // What a program does not read in time is lost, as it is on every terminal; as is what a
            // line has too much.
            Kind::Input => drop(shell.write(&frame.body, LongLines::Cut).await),
            Kind::Message => {
                if let Ok(AttachControl::Resize(size)) = frame.message()
                    && check_size(size).is_ok()
                {
                    let _ = shell.resize(size);
                }
            }
            Kind::Output | Kind::ErrorOutput => {}
        }
    }
}
