//! Looks at what a sandbox takes, and acts before the host suffers.
//!
//! ```text
//! guest above its memory ─▶ agent kills the greediest process ─▶ fine
//!                             │ all above the allowance for too long, or far above
//!                             ▼
//!                           the sandbox is killed: out of memory
//! last space of the disk  ─▶ the sandbox is killed, if it is who writes: no space
//! ```
//!
//! The first is a service to the guest, which root in it can refuse. The others are walls.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use pyro_namespace::Killer;
use pyro_wire::session::Opener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::allowance::Allowance;
use super::sentry::Sentry;
use crate::backend::DeathKind;
use crate::guest;

/// How often to look for the sentry, which is there when the agent answers.
const LOOK_FOR_SENTRY: Duration = Duration::from_millis(25);

/// A sandbox without one after this has ended, or cannot be seen into.
const SENTRY_TIMEOUT: Duration = Duration::from_secs(2);

/// How often to look at what gVisor takes itself, which needs some more system calls, and at the disk.
const LOOK_CLOSELY: Duration = Duration::from_secs(1);

/// How long an agent may take to kill somebody.
const AGENT_TIMEOUT: Duration = Duration::from_secs(2);

/// Before the agent is asked again: freed memory comes back a little later.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// How long a sandbox may be above its allowance.
const PATIENCE: Duration = Duration::from_millis(700);

/// So much of a disk is the host's own; of a small one a part.
const RESERVE: u64 = 256 << 20;
const RESERVE_PART: u64 = 20;

/// How fast a disk fills, at most.
const BYTES_PER_SECOND: u64 = 2 << 30;
const SOONEST: Duration = Duration::from_millis(50);

/// Who has written less since there was enough space is not who takes it.
const LITTLE: u64 = 16 << 20;

/// Why a sandbox was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Verdict {
    pub(in super::super) kind: DeathKind,
    pub(in super::super) message: String,
}

/// Watches one sandbox until it is dropped.
pub(in super::super) struct Guard {
    agent: Option<oneshot::Sender<Opener>>,
    verdict: Arc<OnceLock<Verdict>>,
    task: JoinHandle<()>,
}

impl Guard {
    /// `first`: the first process of the sandbox; `layer`: the folder that its disk is written to.
    pub(in super::super) fn watch(
        first: u32,
        killer: Killer,
        allowance: Allowance,
        layer: Option<PathBuf>,
    ) -> Self {
        let (agent, greeted) = oneshot::channel();
        let verdict = Arc::new(OnceLock::new());
        let told = Arc::clone(&verdict);
        let task = tokio::spawn(async move {
            // Before there is an agent that answers, nothing of the guest's runs, and gVisor's kernel
            // has not all of its files yet.
            let Ok(agent) = greeted.await else {
                return;
            };
            let Some(sentry) = find(first).await else {
                return;
            };
            let watched = Watched {
                sentry,
                allowance,
                layer,
                agent,
            };
            // One that ends meanwhile can be seen into no more, and needs nobody.
            if let Some(found) = watched.until_it_must_end().await {
                let _ = told.set(found);
                killer.kill();
            }
        });
        Self {
            agent: Some(agent),
            verdict,
            task,
        }
    }

    /// From here on the agent can be asked.
    pub(in super::super) fn greeted(&mut self, agent: Opener) {
        if let Some(to) = self.agent.take() {
            let _ = to.send(agent);
        }
    }

    /// Why it was ended, where it was.
    pub(in super::super) fn verdict(&self) -> Option<&Verdict> {
        self.verdict.get()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn find(first: u32) -> Option<Sentry> {
    let begun = Instant::now();
    while begun.elapsed() < SENTRY_TIMEOUT {
        if let Some(sentry) = Sentry::find(first) {
            return Some(sentry);
        }
        sleep(LOOK_FOR_SENTRY).await;
    }
    eprintln!("the sandbox's memory cannot be watched: gVisor's kernel was not found in /proc");
    None
}

struct Watched {
    sentry: Sentry,
    allowance: Allowance,
    layer: Option<PathBuf>,
    agent: Opener,
}

impl Watched {
    async fn until_it_must_end(self) -> Option<Verdict> {
        let mut memory = Memory::default();
        let mut disk = Disk::default();
        let mut look_closely_at = Instant::now();
        let mut own = 0;
        let mut asking: Option<JoinHandle<()>> = None;
        loop {
            let guest = self.sentry.guest_memory().ok()?;
            let now = Instant::now();
            if guest + own > self.allowance.guest || now >= look_closely_at {
                own = self.sentry.own_memory().ok()?;
                if let Some(verdict) = self.look_at_disk(&mut disk) {
                    return Some(verdict);
                }
                look_closely_at = now + disk.next_look;
            }
            if memory.must_end(&self.allowance, guest + own, now) {
                return Some(out_of_memory(&self.allowance, guest + own));
            }
            if guest > self.allowance.guest && asking.as_ref().is_none_or(JoinHandle::is_finished) {
                asking = Some(self.ask_agent());
            }
            let next_look = self.allowance.next_look(guest + own);
            sleep(next_look.min(disk.next_look)).await;
        }
    }

    fn ask_agent(&self) -> JoinHandle<()> {
        let agent = self.agent.clone();
        let limit = self.allowance.guest;
        tokio::spawn(async move {
            // An agent that cannot do it leaves it to the wall.
            let _ = timeout(AGENT_TIMEOUT, guest::free_memory(&agent, limit)).await;
            sleep(ASK_AGAIN).await;
        })
    }

    fn look_at_disk(&self, disk: &mut Disk) -> Option<Verdict> {
        let layer = self.layer.as_deref()?;
        let space = Space::of(layer).ok()?;
        let written = self.sentry.written().ok()?;
        disk.must_end(space, written).then(|| Verdict {
            kind: DeathKind::NoSpace,
            message: format!(
                "the host's disk has only {} MiB left, and the sandbox was writing to it",
                space.free >> 20
            ),
        })
    }
}

fn out_of_memory(allowance: &Allowance, taken: u64) -> Verdict {
    Verdict {
        kind: DeathKind::OutOfMemory,
        message: format!(
            "the sandbox took {} MiB of the host's memory, with {} MiB for its guest",
            taken >> 20,
            allowance.guest >> 20
        ),
    }
}

/// Whether a sandbox takes too much memory, and since when.
#[derive(Default)]
struct Memory {
    above_since: Option<Instant>,
}

impl Memory {
    fn must_end(&mut self, allowance: &Allowance, taken: u64, now: Instant) -> bool {
        if taken <= allowance.all {
            self.above_since = None;
            return false;
        }
        let since = *self.above_since.get_or_insert(now);
        taken > allowance.at_once || now - since >= PATIENCE
    }
}

/// A file system that is written to.
#[derive(Clone, Copy, Debug)]
struct Space {
    free: u64,
    size: u64,
}

impl Space {
    fn of(folder: &Path) -> nix::Result<Self> {
        let stat = statvfs(folder)?;
        let unit = stat.fragment_size();
        Ok(Self {
            free: stat.blocks_available().saturating_mul(unit),
            size: stat.blocks().saturating_mul(unit),
        })
    }
}

/// Whether a sandbox takes the last space of a disk.
struct Disk {
    /// What had been written when there was enough.
    written_before: u64,
    next_look: Duration,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            written_before: 0,
            next_look: LOOK_CLOSELY,
        }
    }
}

impl Disk {
    fn must_end(&mut self, space: Space, written: u64) -> bool {
        let reserve = RESERVE.min(space.size / RESERVE_PART);
        let ms = space.free.saturating_sub(reserve).saturating_mul(1000) / BYTES_PER_SECOND;
        self.next_look = Duration::from_millis(ms).clamp(SOONEST, LOOK_CLOSELY);
        if space.free >= reserve {
            self.written_before = written;
            return false;
        }
        written.saturating_sub(self.written_before) > LITTLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn a_moment_above_the_allowance_is_no_end_and_far_above_is() {
        let allowance = Allowance::new(512, 1);
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut memory = Memory::default();
        assert!(!memory.must_end(&allowance, 700 * MIB, at(0)));
        assert!(!memory.must_end(&allowance, 710 * MIB, at(10)));
        assert!(!memory.must_end(&allowance, 710 * MIB, at(600)));
        // Somebody was killed, and it begins anew.
        assert!(!memory.must_end(&allowance, 100 * MIB, at(650)));
        assert!(!memory.must_end(&allowance, 710 * MIB, at(700)));
        assert!(!memory.must_end(&allowance, 710 * MIB, at(1399)));
        assert!(memory.must_end(&allowance, 710 * MIB, at(1400)));

        let mut memory = Memory::default();
        assert!(memory.must_end(&allowance, 961 * MIB, at(0)));
        assert!(!memory.must_end(&allowance, 704 * MIB, at(5000)));
    }

    #[test]
    fn only_who_writes_takes_the_last_space() {
        let size = 100 * GIB;
        let space = |free| Space { free, size };
        let mut disk = Disk::default();
        assert!(!disk.must_end(space(50 * GIB), 10 * GIB));
        assert_eq!(disk.next_look, LOOK_CLOSELY);
        assert!(!disk.must_end(space(300 * MIB), 11 * GIB));
        assert_eq!(disk.next_look, SOONEST);
        // Somebody else takes it.
        assert!(!disk.must_end(space(200 * MIB), 11 * GIB + MIB));
        assert!(disk.must_end(space(200 * MIB), 11 * GIB + 17 * MIB));
        // There is space again.
        assert!(!disk.must_end(space(GIB), 12 * GIB));
        assert!(!disk.must_end(space(0), 12 * GIB));
    }

    #[test]
    fn a_small_disk_is_not_all_reserve() {
        let size = 100 * MIB;
        let mut disk = Disk::default();
        let space = |free| Space { free, size };
        assert!(!disk.must_end(space(6 * MIB), 90 * MIB));
        assert!(disk.must_end(space(4 * MIB), 110 * MIB));
    }
}
