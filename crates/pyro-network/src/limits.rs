//! How much of the host one guest's network may take, whatever the guest does.

use std::io;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors for everything that is no flow: the link, the runtime, lookups.
const OTHERS: u64 = 96;

/// Connections at once, where the host's limit of open files allows it.
const TCP: usize = 12_000;

/// UDP flows at once. The least recently used one makes room for the next.
pub(crate) const UDP: usize = 512;

/// Pings at once, each of another program.
pub(crate) const PINGS: usize = 64;

/// Questions to name servers at once.
pub(crate) const QUERIES: usize = 128;

/// Bytes from the guest that wait for their flows. Whatever is above that is lost, as on any
/// network.
pub(crate) const WAITING_BYTES: usize = 32 << 20;

/// Frames to the guest that wait for the link: flows wait behind them, and so do the hosts that
/// they are connected to.
pub(crate) const WAITING_FRAMES: usize = 64;

/// What the kernel lets this process have of memory at most. It needs some tens of MiB, and three
/// times less than this when a guest keeps all its connections full.
const MEMORY: u64 = 1 << 30;

/// With many connections each gets less.
const BUFFERS: [(usize, usize, usize); 3] = [
    // this many connections, bytes from the guest, bytes to the guest
    (64, 512 << 10, 1 << 20),
    (1_024, 32 << 10, 32 << 10),
    (usize::MAX, 4 << 10, 4 << 10),
];

/// How often a guest that has no more to say is asked whether it is still there to listen. Its kernel
/// forgets a connection that its program has closed after a minute.
const PROBE: Duration = Duration::from_secs(30);

/// How long nothing must have come for such a guest, before its connection makes room for another one
/// where all places are taken.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) tcp: usize,
    pub(crate) probe: Duration,
    pub(crate) quiet: Duration,
}

/// Takes as many descriptors as the host allows, and no more memory than is right.
pub(crate) fn set() -> io::Result<Limits> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let files = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator. Buffers stay untouched pages of their own, which
    // cost nothing until they are used and go back to the host afterwards.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
    let others = OTHERS + (UDP + PINGS + 2 * QUERIES) as u64;
    let left = usize::try_from(files.saturating_sub(others)).unwrap_or(usize::MAX);
    Ok(Limits {
        tcp: left.clamp(16, TCP),
        probe: PROBE,
        quiet: HALF_CLOSED_IDLE,
    })
}

/// The buffers of one more connection: bytes from the guest, bytes to the guest.
pub(crate) fn buffers(connections: usize) -> (usize, usize) {
    let fitting = BUFFERS.iter().find(|(up_to, ..)| connections < *up_to);
    let (_, from, to) = fitting.unwrap_or(&BUFFERS[2]);
    (*from, *to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_together_fit_into_the_memory() {
        let most: usize = (0..TCP)
            .map(|connections| {
                let (from, to) = buffers(connections);
                from + to
            })
            .sum();
        assert!((most as u64) < MEMORY / 3, "{most}");
    }
}
