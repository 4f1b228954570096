//! A process of the same user's, which has what an attacker would like, and does nothing.

use std::process::ExitCode;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};

use super::call::call;

/// What it tells of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stranger {
    pub pid: i32,
    /// An address in its memory.
    pub memory: u64,
    /// The number of its terminal.
    pub terminal: u32,
    /// The id of its shared memory.
    pub shared_memory: i32,
}

/// Is that process, until whoever started it is gone. It blocks all signals, so that those which came can
/// be seen.
pub(super) fn be() -> ExitCode {
    let ready =
        SigSet::all().thread_block().is_ok() && prctl::set_pdeathsig(Signal::SIGKILL).is_ok();
    let Some(own) = equip().filter(|_| ready) else {
        return ExitCode::FAILURE;
    };
    println!("{}", serde_json::to_string(&own).unwrap_or_default());
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}

fn equip() -> Option<Stranger> {
    // Goes with the last process that has it.
    let shared_memory = call!(SYS_shmget, libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o600).ok()?;
    call!(SYS_shmat, shared_memory, 0, 0).ok()?;
    call!(SYS_shmctl, shared_memory, libc::IPC_RMID, 0).ok()?;
    let terminal = super::call::open("/dev/ptmx".as_ref(), libc::O_RDWR).ok()?;
    let (unlocked, mut number) = (0i32, 0u32);
    call!(SYS_ioctl, terminal, libc::TIOCSPTLCK, &raw const unlocked).ok()?;
    call!(SYS_ioctl, terminal, libc::TIOCGPTN, &raw mut number).ok()?;
    static MEMORY: u8 = 1;
    Some(Stranger {
        pid: i32::try_from(std::process::id()).ok()?,
        memory: (&raw const MEMORY) as u64,
        terminal: number,
        shared_memory: i32::try_from(shared_memory).ok()?,
    })
}
