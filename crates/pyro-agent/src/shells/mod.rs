//! Interactive shells. They belong to the guest and to no stream: whoever asks for one comes and
//! goes, and what it writes meanwhile is kept for the next.
//!
//! ```text
//! Open ──▶ running ──────────▶ ended: stays readable ──▶ Close: forgotten
//!             └── Close: hung up on, then killed ──────────────┘
//! ```
//!
//! Nothing here understands what a terminal is told: output is kept as the text it is, and those
//! who read it make a picture of it, outside of the guest.

mod attach;
mod decoder;
mod lines;
mod pty;
mod ring;
mod shell;
mod start;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, FrameError};
use pyro_wire::shells::{KEPT, LARGEST_SIDE, ShellOpen, ShellReply, ShellRequest, Size};
use tokio::sync::oneshot;

use crate::agent::Agent;
use crate::lock::lock;
use crate::clock::uptime;
use crate::peer::{Peer, Reader, Writer};
pub(crate) use pty::Pty;
pub(crate) use start::{OnTerminal, start_on_terminal};

use shell::{LongLines, Shell};

/// Shells at one time.
const MOST: usize = 256;

/// What all shells together keep, in bytes.
const KEPT_TOGETHER: usize = 32 * 1024 * 1024;

/// The shells of this guest.
#[derive(Default)]
pub(crate) struct Shells {
    by_id: Mutex<BTreeMap<String, Arc<Shell>>>,
    shared: Arc<Shared>,
}

/// What a shell knows of all of them.
#[derive(Default)]
struct Shared {
    count: AtomicUsize,
    /// When one last wrote something, in milliseconds since the guest's start.
    last_output: AtomicU64,
}

impl Shared {
    /// How much one shell may keep.
    fn limit(&self) -> usize {
        KEPT.min(KEPT_TOGETHER / self.count.load(Ordering::Relaxed).max(1))
    }

    fn wrote(&self) {
        // Zero means never.
        self.last_output
            .store(uptime_ms().max(1), Ordering::Relaxed);
    }
}

impl Shells {
    /// How long ago a shell last wrote something.
    pub(crate) fn last_use_ms(&self) -> Option<u64> {
        let last = self.shared.last_output.load(Ordering::Relaxed);
        (last > 0).then(|| uptime_ms().saturating_sub(last))
    }

    /// The shell that an id, or the beginning of one, means.
    fn find(&self, id: &str) -> Result<Arc<Shell>, Fault> {
        let by_id = lock(&self.by_id);
        let mut called = by_id.range(id.to_owned()..).map(|(_, shell)| shell);
        match (called.next(), called.next()) {
            (Some(shell), _) if shell.id == id => Ok(Arc::clone(shell)),
            (Some(shell), next) if !id.is_empty() && shell.id.starts_with(id) => match next {
                Some(next) if next.id.starts_with(id) => Err(Fault::new(
                    FaultCode::Conflict,
                    format!("`{id}` may be {} or {}", shell.id, next.id),
                )),
                _ => Ok(Arc::clone(shell)),
            },
            _ => Err(unknown(id)),
        }
    }

    fn add(&self, shell: Arc<Shell>) -> Result<(), Fault> {
        let mut by_id = lock(&self.by_id);
        if by_id.len() >= MOST {
            return Err(Fault::new(
                FaultCode::Refused,
                format!("{MOST} shells are open already; close one"),
            ));
        }
        if by_id.contains_key(&shell.id) {
            return Err(Fault::new(FaultCode::Refused, "there is such a shell"));
        }
        by_id.insert(shell.id.clone(), shell);
        self.shared.count.store(by_id.len(), Ordering::Relaxed);
        Ok(())
    }

    fn remove(&self, id: &str) {
        let mut by_id = lock(&self.by_id);
        by_id.remove(id);
        self.shared.count.store(by_id.len(), Ordering::Relaxed);
    }
}

/// Serves one request about shells.
pub(crate) async fn serve<P: Peer>(
    agent: &Arc<Agent>,
    request: ShellRequest,
    from: &mut Reader<P>,
    to: &mut Writer<P>,
) -> Result<(), FrameError> {
    let reply = match request {
        ShellRequest::Attach { id, size } => match attachable(agent, &id, size) {
            Ok(shell) => return attach::run(&shell, from, to).await,
            Err(fault) => Err(fault),
        },
        request => answer(agent, request).await,
    };
    let reply = reply.unwrap_or_else(ShellReply::Failed);
    frame::write_message(to, &reply).await
}

async fn answer(agent: &Arc<Agent>, request: ShellRequest) -> Result<ShellReply, Fault> {
    let find = |id: &str| agent.shells.find(id);
    let shell = match request {
        ShellRequest::Open(request) => open(agent, request).await?,
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
            attachable(agent, &id, size)?
        }
        ShellRequest::Close { id } => {
            let shell = find(&id)?;
            shell.close().await;
            agent.shells.remove(&shell.id);
            shell
        }
    };
    Ok(ShellReply::Shell(shell.facts()))
}

async fn open(agent: &Arc<Agent>, request: ShellOpen) -> Result<Arc<Shell>, Fault> {
    agent.ready_for("shells")?;
    check_size(request.size)?;
    let is_id = request.id.len() == 12
        && (request.id.bytes()).all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_id {
        return Err(Fault::new(FaultCode::Refused, "no shell can have this id"));
    }
    let (told, started) = oneshot::channel();
    tokio::spawn(shell::live(Arc::clone(agent), request, told));
    started
        .await
        .unwrap_or_else(|_| Err(Fault::new(FaultCode::Refused, "the shell did not start")))
}

/// The shell, in its new size.
fn attachable(agent: &Agent, id: &str, size: Size) -> Result<Arc<Shell>, Fault> {
    check_size(size)?;
    let shell = agent.shells.find(id)?;
    shell.resize(size)?;
    Ok(shell)
}

pub(crate) fn check_size(size: Size) -> Result<(), Fault> {
    let sides = 1..=LARGEST_SIDE;
    match sides.contains(&size.cols) && sides.contains(&size.rows) {
        true => Ok(()),
        false => Err(Fault::new(
            FaultCode::Refused,
            format!("a terminal has 1 to {LARGEST_SIDE} columns and rows"),
        )),
    }
}

fn unknown(id: &str) -> Fault {
    Fault::new(FaultCode::NotFound, format!("there is no shell `{id}`"))
}

fn uptime_ms() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
}
