//! Runs one command for one stream, at a terminal of its own.
//!
//! As [`exec`], but what the command writes comes as one stream, and what is typed goes to it
//! through the terminal, which makes signals of some of it. Unlike a shell it belongs to its stream:
//! nothing of what it writes is lost when that is slow, and it ends with it.

use std::time::{Duration, Instant};

use pyro_wire::exec::{ExecAtTerminal, ExecControl, ExecEvent};
use pyro_wire::frame::{self, FrameError, Kind};
use pyro_wire::redaction::Redactor;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::agent::Agent;
use crate::exec::{finish, start, supervise};
use crate::group::Group;
use crate::launcher::Process;
use crate::peer::{Peer, Reader, Writer};
use crate::pty::{Pty, check_size};

/// What is read of the terminal before others have their turn.
const BUFFER: usize = 16 * 1024;

/// How much may still be in the terminal when the command has ended. What lives on may fill it for
/// ever.
const REST: usize = 256 * 1024;

/// What a program does not read for so long is lost, as it is at every terminal.
const INPUT_LIMIT: Duration = Duration::from_secs(5);

/// Runs a command to its end and tells the asking side all about it.
///
/// Dropping this kills the command and everything that it started.
pub(crate) async fn run<P: Peer>(
    agent: &Agent,
    request: ExecAtTerminal,
    from: &mut Reader<P>,
    to: &mut Writer<P>,
) -> Result<(), FrameError> {
    let started_at = Instant::now();
    let launch = || {
        check_size(request.size)?;
        let launcher = &agent.launcher;
        launcher.start_at_terminal(&request.exec, request.size)
    };
    let Some((pty, Process { group, exit, .. })) = start(agent, launch, to).await? else {
        return Ok(());
    };

    let limit = request.exec.timeout_ms.map(Duration::from_millis);
    let redactor = agent.launcher.secrets.redactor();
    let (exited, asked) = (Notify::new(), Notify::new());
    let ended = supervise(exit, &group, limit, &asked, started_at);
    let forwarded = forward(&pty, redactor, to, &exited);
    let mut end = finish(ended, &exited, forwarded, follow(&pty, &group, from)).await?;
    end.oom_killed = group.memory_events().oom_killed();
    // What it left running lives on, unless it minds that the terminal is hung up.
    drop(group.release());
    frame::write_message(to, &ExecEvent::Ended(end)).await
}

/// Forwards what the terminal shows until nobody has it open any more, or until `exited` is
/// notified and what was in it by then is read.
async fn forward<P: Peer>(
    pty: &Pty,
    mut redactor: Redactor,
    to: &mut Writer<P>,
    exited: &Notify,
) -> Result<(), FrameError> {
    let mut buffer = vec![0; BUFFER];
    let mut left = None;
    while left != Some(0) {
        if left.is_none() {
            tokio::select! {
                () = pty.readable() => {}
                () = exited.notified() => left = Some(REST),
            }
        }
        match pty.read_now(&mut buffer) {
            Some(count @ 1..) => {
                let clean = redactor.push(&buffer[..count]);
                frame::write_data(to, Kind::Output, &clean).await?;
                left = left.map(|left| left.saturating_sub(count));
                yield_now().await;
            }
            Some(0) => break,
            None if left.is_some() => break,
            None => {}
        }
    }
    let rest = redactor.finish();
    frame::write_data(to, Kind::Output, &rest).await
}

/// Carries to the terminal what is typed and how large it is. Ends when the asking side is gone.
async fn follow<P: Peer>(pty: &Pty, group: &Group<'_>, from: &mut Reader<P>) {
    // After a frame that cannot be read nothing that follows can be trusted either.
    while let Ok(Some(frame)) = frame::read(from).await {
        match frame.kind {
            Kind::Input => {
                let _ = timeout(INPUT_LIMIT, type_all(pty, &frame.body)).await;
            }
            Kind::Message => match frame.message() {
                Ok(ExecControl::Resize(size)) if check_size(size).is_ok() => {
                    let _ = pty.resize(size);
                }
                Ok(ExecControl::Signal(number)) => group.signal(number),
                // A person who leaves hangs up.
                Ok(ExecControl::InputEnd) => group.signal(libc::SIGHUP),
                _ => {}
            },
            // Nobody sends output to a command.
            Kind::Output | Kind::ErrorOutput => {}
        }
    }
}

async fn type_all(pty: &Pty, mut rest: &[u8]) {
    while !rest.is_empty() {
        match pty.write(rest).await {
            Ok(count) => rest = &rest[count.min(rest.len())..],
            Err(_) => return,
        }
    }
}
