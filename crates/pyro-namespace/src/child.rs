//! The handle of a program in namespaces.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long a killed child may take to go before it is left to whoever collects orphans.
const REAP_TIMEOUT: Duration = Duration::from_millis(500);

/// Can kill a [`Child`], for as long as that is there and afterwards.
#[derive(Debug)]
pub struct Killer(OwnedFd);

impl Killer {
    /// As [`Child::kill`].
    pub fn kill(&self) {
        kill(self.0.as_fd());
    }
}

/// A descriptor of a process, closed by exec. Readable once it has ended.
pub fn pidfd(process: Pid) -> io::Result<OwnedFd> {
    // SAFETY: makes a descriptor; touches no memory of ours.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_pidfd_open,
            libc::c_long::from(process.as_raw()),
            0 as libc::c_long,
        )
    };
    let fd = RawFd::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// By the pidfd, for the number may be another's by now. Fails only when it has ended.
fn kill(pidfd: BorrowedFd<'_>) {
    // SAFETY: sends a signal; touches no memory of ours.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
}

/// A program in namespaces. Dropping it kills it, and with it all that it started.
///
/// Its descriptor is a pidfd, readable once the program has ended: an `AsyncFd` can wait for it.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    status: Option<ExitStatus>,
}

impl Child {
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            pidfd,
            status: None,
        }
    }

    /// A child of this process that another program has made for it, in whatever namespaces, and that
    /// nobody has collected.
    pub fn of_caller(id: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(id);
        Ok(Self::new(pid, pidfd(pid)?))
    }

    /// Its number outside of its PID namespace, where it is 1.
    pub fn id(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Kills it, and with it everything in its PID namespace. Does not wait for the end.
    pub fn kill(&self) {
        kill(self.pidfd.as_fd());
    }

    /// For somebody who may kill it, and does not own it.
    pub fn killer(&self) -> io::Result<Killer> {
        Ok(Killer(self.pidfd.try_clone()?))
    }

    /// How it ended, or nothing while it runs.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.collect(Some(WaitPidFlag::WNOHANG))
    }

    /// Waits for its end, however long that takes.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.collect(None)? {
                return Ok(status);
            }
        }
    }

    /// Waits for its end, but no longer than this.
    pub fn wait_timeout(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        self.await_end(limit);
        self.try_wait()
    }

    fn await_end(&self, limit: Duration) {
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        // A signal makes the wait shorter, and the caller sees that it is not over.
        let _ = poll(&mut fds, limit);
    }

    fn collect(&mut self, flags: Option<WaitPidFlag>) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = match waitpid(self.pid, flags) {
                Ok(WaitStatus::Exited(_, code)) => Some(ExitStatus::from_raw((code & 0xff) << 8)),
                Ok(WaitStatus::Signaled(_, signal, dumped)) => {
                    let dumped = if dumped { 0x80 } else { 0 };
                    Some(ExitStatus::from_raw(signal as i32 | dumped))
                }
                Ok(_) | Err(nix::Error::EINTR) => None,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(self.status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill();
            self.await_end(REAP_TIMEOUT);
            let _ = self.try_wait();
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl AsRawFd for Child {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}
