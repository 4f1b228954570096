//! One VM, in steps that operations share: its folder and disk, its shim, a command in it, its
//! end, and the repair of what a crash left behind.
//!
//! A VM's life, and who knows it:
//!
//! ```text
//! record `created` ──launch──▶ shim holds the lock, record `started` ──end──▶ no folder, no record
//!                                        │ killed
//!                                        ▼
//!                     lock free, record says `started` ──sweep──▶ no folder, no record
//! ```

pub(crate) mod abilities;
pub(crate) mod command;
pub(crate) mod command_tty;
pub(crate) mod create;
pub(crate) mod disk;
pub(crate) mod end;
pub(crate) mod facts;
pub(crate) mod folder;
pub(crate) mod isolation;
pub(crate) mod launch;
pub(crate) mod lookup;
pub(crate) mod network;
pub(crate) mod one_shot;
pub(crate) mod output;
pub(crate) mod owner;
pub(crate) mod probe;
pub(crate) mod run_once;
pub(crate) mod shim_client;
pub(crate) mod start;
pub(crate) mod sweep;

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// How far the last change of a file or folder is from now. A clock that was set back shows times
/// ahead; those of the near future count like those of the near past.
fn age(path: &Path) -> io::Result<Duration> {
    let changed = path.metadata()?.modified()?;
    Ok(changed.elapsed().unwrap_or_else(|ahead| ahead.duration()))
}
