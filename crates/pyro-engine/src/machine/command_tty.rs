//! One command in a running VM, at the terminal that a person sits at.
//!
//! The terminal is itself again when this future ends, however it does.

use std::borrow::Cow;
use std::time::Duration;

use pyro_api::TakenTerminal;
use pyro_wire::agent::AgentRequest;
use pyro_wire::exec::{ExecAtTerminal, ExecControl, ExecEnd, ExecEvent};
use pyro_wire::frame::{self, Kind};
use tokio::io::AsyncRead;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::command::{
    CommandError, CommandSpec, Finished, GUEST_GRACE, killed, out_of_time, vm_gone,
};
use super::output::{CapturedOutput, LastWords};
use crate::shells::attach::{forward_input, size_of};
use crate::shells::keys::Keys;

/// Typed one after the other they end the command: Ctrl-], which few programs use, three times.
const LEAVE: &[u8] = b"\x1d\x1d\x1d";

/// Runs a command over a stream to the agent. Dropping the future ends the command.
pub(crate) async fn run(
    stream: UnixStream,
    spec: &CommandSpec<'_>,
    taken: Box<dyn TakenTerminal>,
    events: mpsc::Receiver<pyro_api::TerminalEvent>,
    kept_bytes: usize,
) -> Result<Finished, CommandError> {
    let broken = |source| CommandError::Broken { source };
    let begun = Instant::now();
    let (mut from_guest, mut to_guest) = stream.into_split();
    let request = AgentRequest::ExecAtTerminal(ExecAtTerminal {
        exec: spec.exec(false),
        size: size_of(taken.size()),
    });
    frame::write_message(&mut to_guest, &request)
        .await
        .map_err(broken)?;

    let mut stdout = CapturedOutput::new(kept_bytes);
    let mut last_words = LastWords::default();
    let wait = (spec.limit()).map_or(Duration::MAX, |limit| limit.saturating_add(GUEST_GRACE));
    let keys = Keys::new(LEAVE);
    let (end, runs_on) = tokio::select! {
        ended = timeout(wait, show(&mut from_guest, taken.as_ref(), &mut stdout, &mut last_words)) => match ended {
            Ok(end) => (end?, false),
            Err(_) => (out_of_time(wait), true),
        },
        typed = forward_input(events, &mut to_guest, keys, ExecControl::Resize) => {
            typed.map_err(vm_gone)?;
            // It ends with its stream.
            (killed(begun.elapsed()), false)
        }
    };
    drop(taken);
    Ok(Finished {
        end,
        stdout,
        stderr: CapturedOutput::new(0),
        last_words,
        runs_on,
        interrupted: false,
    })
}

/// Shows what the command writes until it ends.
async fn show(
    from_guest: &mut (impl AsyncRead + Unpin),
    taken: &dyn TakenTerminal,
    kept: &mut CapturedOutput,
    last_words: &mut LastWords,
) -> Result<ExecEnd, CommandError> {
    let broken = |source| CommandError::Broken { source };
    loop {
        let frame = frame::read(from_guest)
            .await
            .map_err(vm_gone)?
            .ok_or(CommandError::VmGone)?;
        let shown = match frame.kind {
            Kind::Output => Some(Cow::Borrowed(&frame.body[..])),
            // Why there is no program; it went through no terminal of the guest.
            Kind::ErrorOutput => Some(Cow::Owned(for_a_terminal(&frame.body))),
            Kind::Input | Kind::Message => None,
        };
        if let Some(bytes) = shown {
            kept.push(&bytes);
            last_words.push(&bytes);
            taken.show(&bytes).map_err(|_| CommandError::CallerGone)?;
            continue;
        }
        match frame.message().map_err(broken)? {
            ExecEvent::Started { .. } => {}
            ExecEvent::Ended(end) => return Ok(end),
            ExecEvent::Failed(fault) => return Err(CommandError::Refused { fault }),
        }
    }
}

/// Text for a terminal that goes down at a line's end, and not back to the beginning.
fn for_a_terminal(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for byte in text {
        if *byte == b'\n' {
            bytes.push(b'\r');
        }
        bytes.push(*byte);
    }
    bytes
}
