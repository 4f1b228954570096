//! The process at the other end of a guest's link: `pyro shim --network`, in a jail of its own.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use pyro_namespace::Namespaces;
use pyro_wire::jail::JailChoice;
use pyro_wire::network::Network;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use super::child::{describe, end_of, watch};
use crate::console::{ERROR_BYTES, Tail};
use crate::jail::{Calls, Handed, JailError, Limits, NAME_SERVERS, Plan, Prisoner, gate};

/// Where a static program's resolver looks for chance, before it asks the kernel for it, or panics.
const RANDOM: [&str; 2] = ["/dev/random", "/dev/urandom"];

/// It has one, and looks nothing up by others.
const TASKS: u64 = 64;

/// Ends the process when it is dropped.
pub(crate) struct Router(JoinHandle<()>);

/// How a router ended that did not end well.
pub(crate) struct RouterEnd {
    words: String,
    /// It may not be without all of its walls, and so neither may its guest.
    pub(crate) refused: Option<String>,
}

/// Starts the router of a guest on its end of the link. When it fails before its VM, the VM lives on
/// without a network, and `after` decides what becomes of the link: a copy of it is in there.
pub(crate) fn start<F: Future<Output = ()> + Send>(
    network: &Network,
    jail: JailChoice,
    link: OwnedFd,
    after: impl FnOnce(RouterEnd) -> F + Send + 'static,
) -> io::Result<Router> {
    let prisoner = prisoner(network, jail, link)?;
    let task = tokio::spawn(async move {
        if let Some(end) = run(prisoner).await {
            eprintln!("the guest's network {}", end.words);
            after(end).await;
        }
    });
    Ok(Router(task))
}

fn prisoner(network: &Network, jail: JailChoice, link: OwnedFd) -> io::Result<Prisoner> {
    let plan = Plan {
        // Where there is no gate.
        read: files().collect(),
        handed: RANDOM.map(PathBuf::from).into(),
        calls: Calls::Network,
        limits: Limits {
            file_bytes: Some(0),
            files: None,
            tasks: pyro_namespace::counts_tasks_apart().then_some(TASKS),
        },
        ..Plan::default()
    };
    let mut prisoner = Prisoner::network(plan, jail, serde_json::to_string(network)?);
    prisoner.handed = files().map(Handed::named).collect();
    prisoner.namespaces = Namespaces::AllButNetwork;
    prisoner.program.stdin(link);
    Ok(prisoner)
}

/// It reads no others, and these each time anew.
fn files() -> impl Iterator<Item = PathBuf> {
    [NAME_SERVERS].into_iter().chain(RANDOM).map(PathBuf::from)
}

/// How it ended, if that was not well.
async fn run(prisoner: Prisoner) -> Option<RouterEnd> {
    let (words, refused) = match serve(prisoner).await {
        Ok(end) => (end?, None),
        Err(error) => (
            format!("could not be started: {error}"),
            matches!(error, JailError::Strict { .. }).then(|| error.to_string()),
        ),
    };
    Some(RouterEnd { words, refused })
}

async fn serve(mut prisoner: Prisoner) -> Result<Option<String>, JailError> {
    let (errors, errors_end) = io::pipe()?;
    prisoner.program.stderr(errors_end);
    let mut errors = Tail::follow(Receiver::from_owned_fd(errors.into())?, ERROR_BYTES);
    let jailed = prisoner.start().await?;
    let mut child = watch(jailed.child)?;
    let mut gate = jailed.gate;
    let status = tokio::select! {
        status = end_of(&mut child) => status?,
        error = gate::serve(&mut gate) => return Err(error.into()),
    };
    errors.drain().await;
    let last = errors.lines().pop().map(|line| format!(" ({line})"));
    Ok((!status.success()).then(|| describe(status) + &last.unwrap_or_default()))
}

impl Drop for Router {
    fn drop(&mut self) {
        // The child is in there, and is killed with it.
        self.0.abort();
    }
}
