//! Ends the tests when an input takes too long or too much memory: nothing else would.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::damage::Inputs;
use crate::failure;

/// An input takes milliseconds.
const LONGEST: Duration = Duration::from_secs(10);

/// Of the process, with all tests that run at the same time.
const MOST_MEMORY_MIB: u64 = 1024;

const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct Watch {
    now: Arc<Mutex<Option<(u64, Instant)>>>,
    /// Dropped when there is nothing to watch any more.
    _over: Sender<()>,
}

impl Watch {
    pub(crate) fn begin(inputs: Inputs) -> Self {
        let now: Arc<Mutex<Option<(u64, Instant)>>> = Arc::default();
        let (over, is_over) = mpsc::channel();
        let seen = Arc::clone(&now);
        std::thread::spawn(move || {
            while is_over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let Some((number, since)) = *seen.lock().expect("nobody panics with it") else {
                    continue;
                };
                let memory = memory_mib();
                if since.elapsed() > LONGEST || memory > MOST_MEMORY_MIB {
                    end(&inputs, number, since, memory);
                }
            }
        });
        Self { now, _over: over }
    }

    pub(crate) fn plays(&self, number: u64) {
        *self.now.lock().expect("nobody panics with it") = Some((number, Instant::now()));
    }
}

fn end(inputs: &Inputs, number: u64, since: Instant, memory: u64) -> ! {
    let (origin, bytes) = inputs.get(number);
    let said = format!(
        "\nafter {:?} with this input, and with {memory} MiB in use by all tests:\n{}\n",
        since.elapsed(),
        failure(&inputs.target, number, &origin, &bytes)
    );
    // What the tests' own output is kept in would be lost.
    let _ = std::io::stderr().write_all(said.as_bytes());
    // With too much memory, each test that runs is told of.
    std::thread::sleep(10 * LOOK);
    std::process::exit(101);
}

fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
