//! What an attacker knows of the host: where everything is that it wants.
//!
//! The plan is written into the program itself. Where the program runs it may find no file, no
//! environment and no argument but QEMU's own.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The staged world.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The first attempt to make; those before are known.
    pub from: usize,
    /// No attempts: it is to confuse its shim.
    #[serde(default)]
    pub noise: bool,
    pub home: PathBuf,
    /// A key below the home.
    pub key: PathBuf,
    /// A file below the home that may be spoilt.
    pub notes: PathBuf,
    /// The listening socket of somebody else's session.
    pub bus: PathBuf,
    /// The name of a listening socket without a file.
    pub abstract_name: String,
    pub tcp_port: u16,
    pub udp_port: u16,
    pub database: PathBuf,
    pub secrets_key: PathBuf,
    pub other_disk: PathBuf,
    pub other_launch_file: PathBuf,
    pub other_control: PathBuf,
    pub other_shim: i32,
    pub other_vmm: i32,
    pub image: PathBuf,
    pub cache: PathBuf,
    /// A process of the same user: it blocks all signals, and holds the key open as its standard input.
    pub stranger: i32,
    /// An address in its memory.
    pub stranger_memory: u64,
    /// A terminal of the user.
    pub terminal: PathBuf,
    /// A shared memory of System V, by its id.
    pub shared_memory: i32,
    /// The device of the host's root file system.
    pub device: PathBuf,
    /// This program, as it may be started again.
    pub program: PathBuf,
    /// A program with the set-user-ID bit.
    pub set_user_id: PathBuf,
}

const BYTES: usize = 8192;

#[repr(C)]
struct Embedded {
    mark: [u8; 32],
    plan: [u8; BYTES],
}

#[used]
static EMBEDDED: Embedded = Embedded {
    mark: *b"<the plan of the attacker is in>",
    plan: [0; BYTES],
};

impl Plan {
    /// The plan in this program; none in one that was given none.
    pub fn own() -> Option<Self> {
        // SAFETY: reads a static; volatile, as the compiler only knows what it was before `put_into`.
        let embedded = unsafe { std::ptr::read_volatile(&raw const EMBEDDED) };
        let text = embedded.plan.split(|byte| *byte == 0).next()?;
        serde_json::from_slice(text).ok()
    }

    /// The program with this plan in the place of its own.
    pub fn put_into(&self, mut program: Vec<u8>) -> Vec<u8> {
        let text = serde_json::to_vec(self).expect("a plan is JSON");
        assert!(text.len() < BYTES, "the plan is too long: {}", text.len());
        // Of this process's own copy: a constant would be in the program once more.
        let mark = EMBEDDED.mark;
        let places: Vec<usize> = (0..program.len().saturating_sub(mark.len() + BYTES))
            .filter(|at| program[*at] == mark[0] && program[*at..].starts_with(&mark))
            .collect();
        let [place] = places[..] else {
            panic!("{} places for a plan in the program", places.len());
        };
        let begin = place + mark.len();
        program[begin..begin + BYTES].fill(0);
        program[begin..begin + text.len()].copy_from_slice(&text);
        program
    }

    /// A file of a process.
    pub(super) fn of(pid: i32, name: &str) -> PathBuf {
        Path::new("/proc").join(pid.to_string()).join(name)
    }
}
