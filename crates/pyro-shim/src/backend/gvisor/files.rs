//! The agent as a program of the host on a sandbox's disk: it works on files there, and nothing of them is
//! ever executed.
//!
//! What it is kept from does not depend on what it does with the bytes that it finds:
//!
//! ```text
//! its root is the disk               nothing else of the host has a name, nor is anything open
//! the namespaces of the sandbox      no network, nobody to signal, no ids but the sandbox's
//! capabilities                       over files, of any of these ids; no others, and never again
//! no new rights, little memory       whatever it should come to execute or to read
//! ```

use std::convert::Infallible;
use std::ffi::CStr;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, execveat};

use super::limits::tasks;
use super::sandbox::{AGENT, DISK, SandboxError, step};

/// As it is called, and what it is told to be.
const ARGUMENTS: [&CStr; 2] = [c"pyro-agent", c"--files"];

/// What it may do to files that are not its own, by the numbers of `linux/capability.h`: give them away,
/// read and write them, change them, and leave set-user-id on them.
const CAPABILITIES: [libc::c_ulong; 4] = [0, 1, 3, 4];

/// More memory of its own than work on files takes, with a thread for each of its lines. What a guest
/// has it read takes no more of the host's.
const MEMORY: u64 = 1 << 30;

/// Open files: one for each folder on the way to where it is, for each line.
const OPEN_FILES: u64 = 65_536;

/// Becomes the agent, for a process that is root in the world of a sandbox and has nothing open beside the
/// standard three that it should not have: see [`super::sandbox`].
pub(super) fn become_agent(mem_mib: u32) -> Result<Infallible, SandboxError> {
    let starting = "the start of the agent on the disk";
    let path = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let agent = open(AGENT, path, Mode::empty()).map_err(step(starting))?;
    chroot(DISK)
        .and_then(|()| chdir("/"))
        .map_err(step("moving onto the disk"))?;
    limit(mem_mib).map_err(step("limiting it"))?;
    give_up_capabilities().map_err(step("giving up capabilities"))?;
    nix::sys::prctl::set_no_new_privs().map_err(step("giving up new rights"))?;
    let environment: [&CStr; 0] = [];
    execveat(
        &agent,
        c"",
        &ARGUMENTS,
        &environment,
        AtFlags::AT_EMPTY_PATH,
    )
    .map_err(step(starting))
}

fn limit(mem_mib: u32) -> io::Result<()> {
    setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(OPEN_FILES), most)?;
    tasks::limit(mem_mib)
}

/// Takes all others out of what a program that is executed from here on can have.
fn give_up_capabilities() -> io::Result<()> {
    for number in 0.. {
        if CAPABILITIES.contains(&number) {
            continue;
        }
        // SAFETY: takes a capability away from this process; touches no memory.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }) {
            Ok(_) => {}
            // Behind the last one that this kernel knows.
            Err(Errno::EINVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
