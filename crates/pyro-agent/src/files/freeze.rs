//! Holds all writes to the disk back, so that a copy of it is consistent.
//!
//! In a virtual machine the kernel freezes the disk. In a sandbox, which has no disk, all processes
//! stand still instead, and none begins. Beside a sandbox only changes of the workspace are held back.
//!
//! A thread of its own owns what is frozen and thaws it at its deadline. It writes nothing
//! anywhere meanwhile: on a frozen disk that would wait for the thread itself.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use pyro_wire::agent::Freeze;
use pyro_wire::fault::{Fault, FaultCode};
use tokio::sync::oneshot;

use crate::console;
use crate::files::change_lock::ChangeLock;
use crate::files::error::FileError;
use crate::files::layout::{Disk, Layout, open_folder};
use crate::lock::lock;
use crate::standstill::{Standstill, Starts};

/// No disk stays frozen for longer, whatever a host asks for.
const LONGEST: Duration = Duration::from_secs(10 * 60);

nix::ioctl_readwrite!(freeze_disk, b'X', 119, libc::c_int);
nix::ioctl_readwrite!(thaw_disk, b'X', 120, libc::c_int);

/// The frozen disk, if it is.
#[derive(Default)]
pub(crate) struct Freezer {
    frozen: Mutex<Option<Frozen>>,
}

struct Frozen {
    /// Dropping it thaws the disk.
    hold: mpsc::Sender<Longer>,
    keeper: JoinHandle<()>,
}

/// Writes everything to the disk and holds further writes back. Waits for a change that is under
/// way, and lets no other begin before the disk is thawed.
pub(crate) async fn freeze(
    freezer: &Freezer,
    changes: &ChangeLock,
    layout: &Layout,
    starts: &Starts,
    request: &Freeze,
) -> Result<(), Fault> {
    freezer.refuse_twice()?;
    let guard = changes.acquire().await.ok_or_else(|| {
        let words = "a change of the workspace is still in progress";
        Fault::new(FaultCode::Refused, words)
    })?;
    freezer.refuse_twice()?;
    let hold_back: HoldBack = match layout.disk() {
        Disk::Ours => || Ok(Held::Disk(freeze_root()?)),
        Disk::Behind => || {
            let standstill = Standstill::begin()?;
            // What the sandbox's kernel has not handed on to the host yet.
            nix::unistd::sync();
            Ok(Held::Processes(standstill))
        },
        // Whoever has the sandbox's processes stopped as well, by its own agent, has all of it.
        Disk::Outside => || Ok(Held::Changes),
        // A disk of the host is not ours to hold back, and not ours to flush: who copies the files
        // reads what was written. What counts is that no change is half-done, or half cleaned up.
        Disk::Shared => return Ok(()),
    };
    let pause = starts.pause();
    let limit = limit(request);
    let (hold, held) = mpsc::channel();
    let (reply, replied) = oneshot::channel();
    let keeper = thread::Builder::new()
        .name("freezer".into())
        .spawn(move || {
            keep(hold_back, limit, &held, reply);
            drop((pause, guard));
        })
        .map_err(|source| failed("start a thread for", source).fault())?;
    *lock(&freezer.frozen) = Some(Frozen { hold, keeper });
    match replied.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.fault()),
        Err(_) => Err(Fault::new(
            FaultCode::GuestIo,
            "the disk could not be frozen",
        )),
    }
}

/// Counts the time of a freeze anew, if it has not ended meanwhile.
pub(crate) async fn stay_frozen(freezer: &Freezer, request: &Freeze) -> Result<(), Fault> {
    let limit = limit(request);
    let (reply, replied) = oneshot::channel();
    let told = match &*lock(&freezer.frozen) {
        Some(frozen) => frozen.hold.send(Longer { limit, reply }).is_ok(),
        None => false,
    };
    // One whose time is over drops what it was told.
    match told && replied.await.is_ok() {
        true => Ok(()),
        false => Err(Fault::new(
            FaultCode::Refused,
            "the disk is not frozen any more",
        )),
    }
}

/// Lets writes go on. Thawing what is not frozen is no failure: its deadline may have passed.
pub(crate) async fn thaw(freezer: &Freezer) {
    let frozen = lock(&freezer.frozen).take();
    let Some(Frozen { hold, keeper }) = frozen else {
        return;
    };
    drop(hold);
    // The thread ends as soon as the kernel has thawed the disk.
    let _ = tokio::task::spawn_blocking(move || keeper.join()).await;
}

impl Freezer {
    fn refuse_twice(&self) -> Result<(), Fault> {
        let mut frozen = lock(&self.frozen);
        match &*frozen {
            Some(other) if !other.keeper.is_finished() => {
                Err(Fault::new(FaultCode::Refused, "the disk is frozen already"))
            }
            _ => {
                *frozen = None;
                Ok(())
            }
        }
    }
}

/// As long as this from now on.
struct Longer {
    limit: Duration,
    reply: oneshot::Sender<()>,
}

fn limit(request: &Freeze) -> Duration {
    Duration::from_millis(request.thaw_after_ms).min(LONGEST)
}

/// How to hold writes back.
type HoldBack = fn() -> io::Result<Held>;

/// What holds them back.
enum Held {
    Disk(OwnedFd),
    Processes(Standstill),
    /// Only the changes that are asked for here, by their lock.
    Changes,
}

/// Freezes, waits, thaws.
fn keep(
    hold_back: HoldBack,
    limit: Duration,
    held: &mpsc::Receiver<Longer>,
    reply: oneshot::Sender<Result<(), FileError>>,
) {
    let frozen = match hold_back() {
        Ok(frozen) => frozen,
        Err(source) => {
            let _ = reply.send(Err(failed("freeze", source)));
            return;
        }
    };
    // Whoever asked may have gone. Then nobody will thaw it, and the deadline will.
    let _ = reply.send(Ok(()));
    let mut next = limit;
    // An end of the waiting, whichever, is the end of the freeze.
    while let Ok(Longer { limit, reply }) = held.recv_timeout(next) {
        next = limit;
        let _ = reply.send(());
    }
    match frozen {
        Held::Disk(root) => {
            if let Err(error) = thaw_root(&root) {
                console::report(format_args!("cannot thaw the disk: {error}"));
            }
        }
        Held::Processes(standstill) => drop(standstill),
        Held::Changes => {}
    }
}

fn freeze_root() -> io::Result<OwnedFd> {
    let root = open_folder(Path::new("/"))?;
    let mut unused = 0;
    // SAFETY: the descriptor is open, and the argument is ignored.
    unsafe { freeze_disk(root.as_raw_fd(), &mut unused) }?;
    Ok(root)
}

fn thaw_root(root: &OwnedFd) -> io::Result<()> {
    let mut unused = 0;
    // SAFETY: the descriptor is open, and the argument is ignored.
    match unsafe { thaw_disk(root.as_raw_fd(), &mut unused) } {
        // Somebody in the guest was faster.
        Ok(_) | Err(Errno::EINVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn failed(step: &'static str, source: io::Error) -> FileError {
    FileError::at(step, "the disk", source)
}
