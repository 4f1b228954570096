//! A child process that cannot outlive the shim.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Pid, getpid, getppid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

/// Which descriptors a child inherits beside the standard three.
pub(crate) enum Inherit<'a> {
    /// Under the numbers they have here.
    SameNumbers(&'a [BorrowedFd<'a>]),
    /// This one, as descriptor 3.
    AsDescriptor3(BorrowedFd<'a>),
}

/// Starts a child that gets `parent_death_signal` when the calling thread ends, which must therefore be the
/// main one, and SIGKILL when the returned handle is dropped.
pub(crate) fn spawn(
    mut command: Command,
    pass: &Inherit<'_>,
    parent_death_signal: Signal,
) -> io::Result<Child> {
    let shim = getpid();
    // Descriptor 3 must be in use here, or the pipe by which `spawn` hears of a failed exec
    // might get that number and be overwritten in the child.
    let (keep, three, _occupies_three) = match pass {
        Inherit::SameNumbers(fds) => (fds.iter().map(AsRawFd::as_raw_fd).collect(), None, None),
        Inherit::AsDescriptor3(fd) => {
            (Vec::new(), Some(fd.as_raw_fd()), Some(at_least_three(*fd)?))
        }
    };
    // SAFETY: between fork and exec only async-signal-safe system calls are made, and nothing is
    // allocated.
    unsafe {
        command.pre_exec(move || in_child(shim, parent_death_signal, &keep, three));
    }
    command.kill_on_drop(true).spawn()
}

/// The lowest free descriptor from 3 on: after this, 3 is in use.
fn at_least_three(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let number = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the kernel just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn in_child(
    shim: Pid,
    parent_death_signal: Signal,
    keep: &[RawFd],
    three: Option<RawFd>,
) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(parent_death_signal)?;
    // The shim may have died before the line above.
    if getppid() != shim {
        return Err(io::ErrorKind::NotConnected.into());
    }
    // A shim that could not leave its terminal's group ignores what that sends; the child would not.
    nix::unistd::setsid()?;
    // What the shim ignores would stay ignored across exec.
    for signal_of_terminal in [Signal::SIGHUP, Signal::SIGINT] {
        // SAFETY: the default action is no handler.
        unsafe { signal(signal_of_terminal, SigHandler::SigDfl) }?;
    }
    for fd in keep {
        keep_across_exec(*fd)?;
    }
    match three {
        Some(3) => keep_across_exec(3),
        // SAFETY: nobody in this process, which is about to become another program, owns 3.
        Some(fd) => match unsafe { libc::dup2(fd, 3) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

fn keep_across_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: sets a flag of a descriptor and touches no memory.
    match unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A program in namespaces, so that its end can be waited for.
pub(crate) fn watch(child: pyro_namespace::Child) -> io::Result<AsyncFd<pyro_namespace::Child>> {
    // SAFETY: a `Child` names the same open descriptor for as long as it lives.
    unsafe { AsyncFd::register_with_interest(child, Interest::READABLE) }.map_err(io::Error::from)
}

/// Resolves when it has ended. May be dropped and asked again.
pub(crate) async fn end_of(child: &mut AsyncFd<pyro_namespace::Child>) -> io::Result<ExitStatus> {
    loop {
        child.readable().await?.clear_ready();
        if let Some(status) = child.get_mut().try_wait()? {
            return Ok(status);
        }
    }
}

/// The end of a process in words: "ended with exit status 1", "was killed by signal 9 (SIGKILL)".
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("was killed by signal {number} ({signal})"),
            Err(_) => format!("was killed by signal {number}"),
        },
        (None, None) => "ended".into(),
    }
}
