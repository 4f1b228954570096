//! A sandbox that stands still: every process of it is stopped, as by SIGSTOP.
//!
//! `runsc pause` would stop the guest's programs only. The guest's kernel goes on measuring its own
//! latency, more than two thousand times a second, which takes some hundredths of a processor for as long
//! as the sandbox lives; and each call of runsc is two more processes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long it may take until everything stands. A process that waits for the host's disk takes its time.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How often it is looked whether everything stands.
const LOOK: Duration = Duration::from_millis(1);

/// Stopped processes, by numbers that are nobody else's meanwhile. Dropping it lets them go on.
#[derive(Debug)]
pub(super) struct Held(BTreeMap<u32, OwnedFd>);

impl Held {
    /// Stops everything below the first process of a sandbox, until all of it stands.
    pub(super) async fn all_below(first: u32) -> io::Result<Self> {
        let mut held = Self(BTreeMap::new());
        let deadline = Instant::now() + TIMEOUT;
        // Who is stopped may have made another one before it heard of it.
        while held.stop_new(first)? || !held.all_stand() {
            if Instant::now() > deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "a process of the sandbox does not stop",
                ));
            }
            sleep(LOOK).await;
        }
        Ok(held)
    }

    /// Whether there was any that is not stopped yet.
    fn stop_new(&mut self, first: u32) -> io::Result<bool> {
        let mut any = false;
        for pid in below(first)? {
            if self.0.contains_key(&pid) {
                continue;
            }
            match stop(pid) {
                Ok(process) => self.0.insert(pid, process),
                // It has ended.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
                Err(error) => return Err(error),
            };
            any = true;
        }
        Ok(any)
    }

    fn all_stand(&self) -> bool {
        self.0.keys().all(|pid| stands(*pid))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for process in self.0.values() {
            // Fails only when it has ended.
            let _ = signal(process.as_fd(), libc::SIGCONT);
        }
    }
}

fn stop(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: makes a descriptor; touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0) };
    let fd = RawFd::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for us alone.
    let process = unsafe { OwnedFd::from_raw_fd(fd) };
    signal(process.as_fd(), libc::SIGSTOP)?;
    Ok(process)
}

fn signal(process: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: sends a signal; touches no memory of ours.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    match sent {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// All descendants, parents before their children: those that make others stop first.
fn below(first: u32) -> io::Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok())
            && let Some((_, parent)) = state_and_parent(&format!("/proc/{pid}/stat"))
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![first];
    let mut looked_at = 0;
    while let Some(parent) = found.get(looked_at).copied() {
        // Each has one parent, so none is found twice.
        found.extend(children.remove(&parent).unwrap_or_default());
        looked_at += 1;
    }
    found.remove(0);
    Ok(found)
}

/// Whether no thread of it runs any more.
fn stands(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = thread.path().join("stat");
        let state = state_and_parent(&stat.to_string_lossy()).map(|(state, _)| state);
        matches!(state, None | Some('T' | 't' | 'Z' | 'X'))
    })
}

fn state_and_parent(stat: &str) -> Option<(char, u32)> {
    let stat = fs::read_to_string(stat).ok()?;
    // The name may hold spaces and brackets; after its last bracket come state and parent.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn descendants_stand_until_it_is_dropped() {
        // A child and a grandchild that run all the time.
        let script = "sh -c 'while :; do :; done' & while :; do :; done";
        let shell = Killed(Command::new("sh").args(["-c", script]).spawn().unwrap());
        let own = std::process::id();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let hold = || runtime.block_on(Held::all_below(shell.0.id()));
        let held = loop {
            let held = hold().unwrap();
            if held.0.len() == 1 {
                break held;
            }
        };
        let [grandchild] = held.0.keys().copied().collect::<Vec<_>>()[..] else {
            panic!("{held:?}");
        };
        assert!(stands(grandchild));
        assert!(!stands(shell.0.id()) && !stands(own));
        let found = below(own).unwrap();
        let place = |pid| found.iter().position(|found| *found == pid);
        assert!(place(shell.0.id()) < place(grandchild), "{found:?}");
        drop(held);
        let deadline = std::time::Instant::now() + TIMEOUT;
        while stands(grandchild) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::sleep(LOOK);
        }
        // Orphans of the shell end with it here.
        let _all = runtime.block_on(Held::all_below(shell.0.id())).unwrap();
        stop(grandchild)
            .and_then(|process| signal(process.as_fd(), libc::SIGKILL))
            .unwrap();
    }
}
