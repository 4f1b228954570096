//! Collects every process that ends: commands, and whatever they orphaned.
//!
//! This is the only place that waits for processes. Whoever starts one says so with
//! [`Reaper::watch`] before it awaits anything: as everything runs on one thread, the process
//! cannot have been collected until then.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::lock::lock;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

#[derive(Default)]
pub(crate) struct Reaper {
    /// Processes that somebody waits for, by id. An id that is in here cannot be used again by
    /// the kernel, so it is safe to send signals to.
    watched: Mutex<HashMap<i32, oneshot::Sender<Exit>>>,
}

/// Tests share one process, and so their children: whoever waits for some in a test, by a reaper
/// or otherwise, holds this.
#[cfg(test)]
pub(crate) static CHILDREN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

impl Reaper {
    /// Starts collecting, for as long as the runtime lives.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let mut children = signal(SignalKind::child())?;
        let reaper = Arc::new(Self::default());
        let collector = Arc::clone(&reaper);
        tokio::spawn(async move {
            loop {
                collector.collect();
                if children.recv().await.is_none() {
                    return;
                }
            }
        });
        Ok(reaper)
    }

    /// Collects nothing: for an agent that starts no process.
    pub(crate) fn idle() -> Arc<Self> {
        Arc::default()
    }

    /// Tells how the process `pid`, which was started just now, ends.
    pub(crate) fn watch(&self, pid: i32) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.watched).insert(pid, sender);
        receiver
    }

    /// Sends a signal to the group that the watched process `pid` leads, if it has not ended.
    pub(crate) fn signal_group(&self, pid: i32, number: i32) {
        if pid > 0 && lock(&self.watched).contains_key(&pid) {
            // SAFETY: `kill` has no memory effects. A bad number is refused by the kernel.
            unsafe { libc::kill(-pid, number) };
        }
    }

    /// Whether the watched process `pid` has not been collected.
    pub(crate) fn is_alive(&self, pid: i32) -> bool {
        lock(&self.watched).contains_key(&pid)
    }

    fn collect(&self) {
        loop {
            let mut status = 0;
            // SAFETY: `status` outlives the call. Not nix's waitpid: it fails, after collecting,
            // on a process that a real-time signal ended.
            let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
            if pid < 0 && Errno::last() == Errno::EINTR {
                continue;
            }
            if pid <= 0 {
                return;
            }
            let exit = if libc::WIFSIGNALED(status) {
                Exit::Signal(libc::WTERMSIG(status))
            } else {
                Exit::Code(libc::WEXITSTATUS(status))
            };
            if let Some(waiter) = lock(&self.watched).remove(&pid) {
                // Nobody waits any more for a command whose stream is gone.
                let _ = waiter.send(exit);
            }
        }
    }
}
