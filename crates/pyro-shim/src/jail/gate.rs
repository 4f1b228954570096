//! What the program in a jail does only with the shim's help: its one exec, and opening a file to be written to.
//!
//! The kernel asks here about each such call. When the gate is closed, which is as soon as the program has
//! what it needs for its work, the kernel answers that there are no such calls.
//!
//! ```text
//! execve                 the first one goes on
//! open, to write a file  of those that are handed out, one gets a descriptor that was opened here, and
//!                        it may be good for less than was asked: QEMU opens a template's memory to be
//!                        written to, though it only reads it
//! anything else          is refused
//! ```
//!
//! The process of a network executes nothing, and its gate stays open: what it may read is the file of name
//! servers, which other programs replace at any time.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::handed::Handed;

pub(crate) struct Gate {
    listener: AsyncFd<OwnedFd>,
    process: u32,
    /// The memory of one that executes nothing, which the shim may not open any more once it has walls of
    /// its own.
    memory: Option<File>,
    handed: Vec<Handed>,
    executed: bool,
}

/// Serves a gate, if there is one, for as long as somebody waits for this. Resolves only when it cannot go on.
pub(crate) async fn serve(gate: &mut Option<Gate>) -> io::Error {
    match gate {
        Some(gate) => gate.serve().await,
        None => std::future::pending().await,
    }
}

enum Answer<'a> {
    GoOn,
    Take(&'a Handed),
    Refused(i32),
}

impl Gate {
    /// `executes`: the process is to become another program, by its one exec.
    pub(super) fn new(
        listener: OwnedFd,
        process: u32,
        executes: bool,
        handed: Vec<Handed>,
    ) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives.
        let listener = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
        let memory = (!executes).then(|| memory_of(process)).transpose()?;
        Ok(Self {
            listener: listener.map_err(io::Error::from)?,
            process,
            memory,
            handed,
            executed: false,
        })
    }

    /// Answers what is asked, until it is dropped. Resolves only when it cannot go on; that the program has
    /// ended is told elsewhere.
    async fn serve(&mut self) -> io::Error {
        loop {
            let mut ready = match self.listener.readable().await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            let answered = match self.state() {
                // To receive would wait, and for ever if nobody is left to ask. The next one may be waiting
                // already, of which nothing more would be heard.
                Ok(state) if state.contains(PollFlags::POLLIN) => {
                    drop(ready);
                    self.answer_one()
                }
                Ok(state) if state.contains(PollFlags::POLLHUP) => std::future::pending().await,
                Ok(_) => {
                    ready.clear_ready();
                    Ok(())
                }
                Err(error) => Err(error),
            };
            match answered {
                Ok(()) => {}
                // Whoever asked was killed meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return error,
            }
        }
    }

    fn state(&self) -> io::Result<PollFlags> {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO)?;
        Ok(fds[0].revents().unwrap_or(PollFlags::empty()))
    }

    fn answer_one(&mut self) -> io::Result<()> {
        // SAFETY: all zero is what the kernel wants to find.
        let mut asked: libc::seccomp_notif = unsafe { mem::zeroed() };
        self.control(libc::SECCOMP_IOCTL_NOTIF_RECV, &mut asked)?;
        let answer = self.decide(&asked.data);
        let (value, error, flags) = match answer {
            Answer::GoOn => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE),
            Answer::Refused(error) => (0, -error, 0),
            Answer::Take(handed) => match self.hand_over(asked.id, handed) {
                Ok(number) => (i64::from(number), 0, 0),
                Err(error) => (0, -error.raw_os_error().unwrap_or(libc::EIO), 0),
            },
        };
        if matches!(answer, Answer::GoOn) {
            self.executed = true;
        }
        let mut told = libc::seccomp_notif_resp {
            id: asked.id,
            val: value,
            error,
            flags: u32::try_from(flags).unwrap_or(0),
        };
        self.control(libc::SECCOMP_IOCTL_NOTIF_SEND, &mut told)?;
        Ok(())
    }

    fn decide(&self, call: &libc::seccomp_data) -> Answer<'_> {
        let name = match libc::c_long::from(call.nr) {
            libc::SYS_execve if !self.executed => return Answer::GoOn,
            libc::SYS_openat => call.args[1],
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => call.args[0],
            _ => return Answer::Refused(libc::EPERM),
        };
        let path = self.name_at(name).unwrap_or_default();
        match self.handed.iter().find(|handed| handed.path == path) {
            Some(handed) => Answer::Take(handed),
            None => Answer::Refused(libc::EACCES),
        }
    }

    /// The name at an address of the program's. It may change it while we look, and gains nothing by it:
    /// what it gets is what is handed out here.
    fn name_at(&self, address: u64) -> io::Result<PathBuf> {
        let opened;
        let memory = match &self.memory {
            Some(memory) => memory,
            None => {
                opened = memory_of(self.process)?;
                &opened
            }
        };
        let mut name = vec![0; usize::try_from(libc::PATH_MAX).unwrap_or(0)];
        let length = memory.read_at(&mut name, address)?;
        let end = name[..length].iter().position(|byte| *byte == 0);
        let name = &name[..end.unwrap_or(length)];
        Ok(Path::new(OsStr::from_bytes(name)).to_owned())
    }

    /// A copy of a descriptor for the program, and its number there.
    fn hand_over(&self, asked: u64, handed: &Handed) -> io::Result<i32> {
        let file = handed.open()?;
        let mut copy = libc::seccomp_notif_addfd {
            id: asked,
            flags: 0,
            srcfd: file.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: libc::O_CLOEXEC.cast_unsigned(),
        };
        self.control(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &mut copy)
    }

    fn control<T>(&self, request: libc::Ioctl, with: &mut T) -> io::Result<i32> {
        // SAFETY: each request is called with the structure that it reads and writes.
        match unsafe { libc::ioctl(self.listener.as_raw_fd(), request, with) } {
            -1 => Err(io::Error::last_os_error()),
            done => Ok(done),
        }
    }
}

fn memory_of(process: u32) -> io::Result<File> {
    File::open(format!("/proc/{process}/mem"))
}
