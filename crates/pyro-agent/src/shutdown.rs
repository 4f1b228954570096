//! Ends everything in an orderly way, so that the disk is clean when the host pulls the plug.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::agent::Agent;
use crate::backend::Backend;
use crate::lifecycle::Stage;
use crate::{console, descendants};

/// How long processes may take to end by themselves, and then to be killed.
const TERM_LIMIT: Duration = Duration::from_secs(1);
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// How long a change of files may take to come to its end.
const CHANGE_LIMIT: Duration = Duration::from_secs(20);

/// How long the host may take to end us after it was told that all is done.
const HOST_LIMIT: Duration = Duration::from_secs(5);

nix::ioctl_readwrite!(freeze, b'X', 119, libc::c_int);

/// Ends all processes and writes everything to the disk. Afterwards nothing runs any more.
pub(crate) async fn shut_down(agent: &Arc<Agent>) {
    agent.lifecycle.set(Stage::Closing);
    agent.files.thaw().await;
    // A change that has not all of its archive gives up, and one that has comes to its end.
    let Some(_guard) = agent.files.stop_changes(CHANGE_LIMIT).await else {
        console::report("a change of files did not finish, and will be undone at the next start");
        return end_all(agent).await;
    };
    end_all(agent).await;
}

async fn end_all(agent: &Agent) {
    match agent.backend {
        Backend::Vm => {
            end_processes().await;
            quiesce_disk();
            tokio::spawn(async {
                sleep(HOST_LIMIT).await;
                console::power_off();
            });
        }
        Backend::Sandbox => {
            end_processes().await;
            nix::unistd::sync();
            tokio::spawn(async {
                sleep(HOST_LIMIT).await;
                // With its first process the sandbox ends.
                std::process::exit(0);
            });
        }
        // Nothing else runs, and what was written is the host's.
        Backend::Files => {
            tokio::spawn(async {
                sleep(HOST_LIMIT).await;
                std::process::exit(0);
            });
        }
        Backend::Process { .. } => {
            descendants::kill_below(std::process::id().cast_signed());
            tokio::spawn(async {
                sleep(HOST_LIMIT).await;
                std::process::exit(0);
            });
        }
    }
}

/// Ends every process but this one.
pub(crate) async fn end_processes() {
    let everyone = Pid::from_raw(-1);
    // Both fail only when there is nobody left.
    let _ = kill(everyone, Signal::SIGTERM);
    // Stopped processes would not hear it.
    let _ = kill(everyone, Signal::SIGCONT);
    if !all_ended(TERM_LIMIT).await {
        let _ = kill(everyone, Signal::SIGKILL);
        if !all_ended(KILL_LIMIT).await {
            console::report("some processes did not end");
        }
    }
}

/// Waits until PID 1 has no children, and so the guest no processes.
async fn all_ended(limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while waitid(Id::All, look) != Err(Errno::ECHILD) {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(2)).await;
    }
    true
}

/// Writes everything back and makes sure that nothing is written afterwards.
fn quiesce_disk() {
    nix::unistd::sync();
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let Err(error) = mount(None::<&str>, "/", None::<&str>, flags, None::<&str>) else {
        return;
    };
    // Something holds a file open. A frozen file system is as clean on the disk.
    let frozen = File::open("/").map_err(|_| Errno::EIO).and_then(|root| {
        let mut unused = 0;
        // SAFETY: the descriptor is open, and the argument is ignored.
        unsafe { freeze(root.as_raw_fd(), &mut unused) }
    });
    if let Err(second) = frozen {
        console::report(format_args!(
            "cannot make the root disk read-only ({error}) or freeze it ({second})"
        ));
    }
}
