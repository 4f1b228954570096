//! The end of everything the shim ever started.
//!
//! The shim is a *subreaper*: a process whose parent died becomes its child, and not init's. So
//! killing children until there are none reaches every descendant, even one that made itself a
//! session of its own.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpid};

/// How long killed processes may take to go; one that hangs in the kernel takes for ever.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes this process the parent of its orphaned descendants.
pub(crate) fn become_subreaper() {
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Kills every descendant and waits until they are gone. False when some would not go.
pub(crate) async fn end_all() -> bool {
    let begun = Instant::now();
    while begun.elapsed() < KILL_TIMEOUT {
        if !reap() {
            return true;
        }
        for child in children() {
            let _ = kill(child, Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    false
}

/// Collects ended orphans while `spared`, whose end somebody else waits for, lives.
pub(crate) fn reap_orphans(spared: Pid) {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, flags) {
        match status.pid() {
            Some(pid) if pid != spared => {
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            }
            _ => return,
        }
    }
}

/// Collects what has ended; whether there are children left.
fn reap() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) => {}
            Err(nix::Error::EINTR) => {}
            Err(_) => return false,
        }
    }
}

fn children() -> Vec<Pid> {
    let own = getpid();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|pid| parent_of(*pid) == Some(own))
        .collect()
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; after its last bracket come state and parent.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace()
        .nth(1)?
        .parse()
        .ok()
        .map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_this_process_is_read_from_proc() {
        assert_eq!(parent_of(getpid()), Some(nix::unistd::getppid()));
    }
}
