//! All processes but the agent stand still, and none begins, so that nothing is written.
//!
//! For a sandbox, in which there is no disk to freeze. What had been stopped before stays stopped
//! afterwards.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::descendants::{self, Seen};

/// How long all processes together may take to stop. One may be in the middle of a system call.
const LIMIT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(1);

/// What stands still, until it is dropped.
pub(crate) struct Standstill {
    /// Those that ran, in the order in which they were found.
    stopped: Vec<Seen>,
}

impl Standstill {
    /// Stops all processes but this one. An error, with everything running again, when one of them
    /// does not.
    pub(crate) fn begin() -> io::Result<Self> {
        let mut standstill = Self {
            stopped: Vec::new(),
        };
        let deadline = Instant::now() + LIMIT;
        loop {
            let running = descendants::running();
            if running.is_empty() {
                return Ok(standstill);
            }
            for process in &running {
                if !standstill.stopped.contains(process) {
                    process.signal(libc::SIGSTOP);
                    standstill.stopped.push(*process);
                }
            }
            if Instant::now() > deadline {
                let ids: Vec<String> = running.iter().map(|seen| seen.pid().to_string()).collect();
                let which = ids.join(", ");
                return Err(io::Error::other(format!("processes do not stop: {which}")));
            }
            // What was born of them while we looked is found by the next look.
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        // The youngest first: a shell that goes on before its child would take it for stopped.
        self.stopped
            .sort_by_key(|seen| std::cmp::Reverse(seen.age_order()));
        for process in &self.stopped {
            if process.is_there() {
                process.signal(libc::SIGCONT);
            }
        }
    }
}

/// Whether commands may start.
pub(crate) struct Starts(watch::Sender<usize>);

impl Default for Starts {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Starts {
    /// Holds starts back until what comes back is dropped.
    pub(crate) fn pause(&self) -> Pause {
        self.0.send_modify(|pauses| *pauses += 1);
        Pause(self.0.clone())
    }

    /// Waits until a command may start. Nothing may be awaited between this and the start.
    pub(crate) async fn allowed(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|pauses| *pauses == 0).await;
    }
}

pub(crate) struct Pause(watch::Sender<usize>);

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.send_modify(|pauses| *pauses -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn nothing_starts_during_any_pause() {
        let starts = Starts::default();
        starts.allowed().await;
        let (one, other) = (starts.pause(), starts.pause());
        drop(one);
        let waiting = timeout(Duration::from_millis(20), starts.allowed());
        assert!(waiting.await.is_err());
        drop(other);
        starts.allowed().await;
    }
}
