//! From a child of the shim to the agent beside a sandbox that runs; this is `pyro shim --files SANDBOX
//! MEM_MIB`.
//!
//! ```text
//! shim                        this process                          the agent
//! starts it ────────────────▶ joins the namespaces of the sandbox
//!                             makes a child of the shim's ────────▶ moves onto the disk,
//!          ◀── its number ─── ends                                  becomes the agent
//! ```
//!
//! Two processes, as nobody moves into a PID namespace but by being born there. In it, the agent ends with
//! the sandbox's first process, and that one's end is not told before the agent's.

use std::convert::Infallible;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, sched_getaffinity, sched_setaffinity, setns};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid, getppid, setgroups, setresgid, setresuid};

use super::bundle::OOM_SCORE;
use super::files::become_agent;
use super::sandbox::{FAILED, SandboxError, step};

/// The first process of a PID namespace, and whoever asks.
const FIRST: Pid = Pid::from_raw(1);
const SELF: Pid = Pid::from_raw(0);

/// See [`crate::join_files`].
pub(crate) fn run(sandbox: RawFd, mem_mib: u32) -> ExitCode {
    // SAFETY: whoever named the descriptor passed it for the purpose, and nobody else uses it.
    let sandbox = unsafe { OwnedFd::from_raw_fd(sandbox) };
    match start(sandbox, mem_mib) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            FAILED.into()
        }
    }
}

fn start(sandbox: OwnedFd, mem_mib: u32) -> Result<(), SandboxError> {
    // A wish, which some containers do not grant.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE.to_string());
    // This process ends with the shim until it becomes somebody else, so this is the shim.
    let shim = pyro_namespace::pidfd(getppid()).map_err(step("watching the shim"))?;
    let namespaces = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    setns(&sandbox, namespaces).map_err(step("joining the sandbox"))?;
    drop(sandbox);
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[])
        .and_then(|()| setresgid(group, group, group))
        .and_then(|()| setresuid(user, user, user))
        .map_err(step("becoming root in the sandbox"))?;
    bind_to(shim.as_fd()).map_err(step("binding it to the shim"))?;
    match make_child_of_parent().map_err(step("making a process in the sandbox"))? {
        0 => {
            let Err(error) = become_agent_of(shim.as_fd(), mem_mib);
            eprintln!("{error}");
            std::process::exit(FAILED.into());
        }
        child => {
            // Whoever does not hear it ends the child, as nobody knows of it.
            let told = io::stdout().write_all(format!("{child}\n").as_bytes());
            told.map_err(step("telling the shim"))
        }
    }
}

fn become_agent_of(shim: BorrowedFd<'_>, mem_mib: u32) -> Result<Infallible, SandboxError> {
    bind_to(shim).map_err(step("binding it to the shim"))?;
    // The other one says what is to be said there.
    nix::unistd::dup2_stdout(io::stderr()).map_err(step("its output"))?;
    // A wish, as it is for the sandbox.
    let _ = sched_getaffinity(FIRST).and_then(|processors| sched_setaffinity(SELF, &processors));
    become_agent(mem_mib)
}

/// Has this process end with the shim.
fn bind_to(shim: BorrowedFd<'_>) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // It may have ended before the line above.
    let mut gone = [PollFd::new(shim, PollFlags::POLLIN)];
    match poll(&mut gone, PollTimeout::ZERO)? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::NotConnected.into()),
    }
}

/// As fork(2), but the child is one of this process's parent.
fn make_child_of_parent() -> io::Result<libc::c_long> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without an own stack the child goes on as a copy on a copy of this one; this process has
    // one thread, which holds no lock here.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) };
    Ok(Errno::result(child)?)
}
