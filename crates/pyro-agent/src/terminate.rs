//! Ends everything that a command or a service has started: SIGTERM first, SIGKILL for what is left.

use std::time::Duration;

use pyro_wire::service::STOP_MS;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::group::Group;
use crate::reaper::Exit;

/// How long a killed process may take to end. One that hangs in the kernel may never.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How often we look whether the rest of a group has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Asks a whole group to end, and kills what has not after its time; says how the first process
/// ended, and whether anything had to be killed.
pub(crate) async fn terminate(
    group: &Group<'_>,
    exit: &mut oneshot::Receiver<Exit>,
) -> (Option<Exit>, bool) {
    let deadline = Instant::now() + Duration::from_millis(STOP_MS);
    group.ask_to_end();
    let ended = timeout_at(deadline, &mut *exit).await;
    let Ok(ended) = ended else {
        group.kill();
        group.kill_rest();
        return (killed(exit).await, true);
    };
    // Those that left the process group have not heard it.
    group.signal_rest(libc::SIGTERM);
    while !group.is_empty() {
        if Instant::now() > deadline {
            group.kill_rest();
            return (ended.ok(), true);
        }
        sleep(LOOK).await;
    }
    (ended.ok(), false)
}

async fn killed(exit: &mut oneshot::Receiver<Exit>) -> Option<Exit> {
    timeout(KILL_LIMIT, exit).await.ok().and_then(Result::ok)
}
