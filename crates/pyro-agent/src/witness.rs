//! Somebody in the session of a terminal, for kernels that tell the foreground to nobody else.
//!
//! Linux answers the other end of a terminal as well. gVisor (2024) answers only a process whose
//! controlling terminal it is, and sends no `SIGWINCH` either. So a process is left in the session
//! that does nothing but answer, and ends when nobody can ask any more.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use crate::inherited::LAST_DESCRIPTOR;

/// How long an answer may take; the witness may have been killed, or stand still.
const LIMIT: Duration = Duration::from_millis(500);

/// Where the witness has its end, above the standard three.
const SEAT: RawFd = 3;

/// A question is a number, and an answer is that number and a process group: an answer that came too
/// late must not be taken for the next.
const ANSWER: usize = 1 + size_of::<libc::pid_t>();

/// Whom to ask.
pub(crate) struct Witness {
    line: UnixStream,
    asked: AtomicU8,
}

/// Where the witness is to sit: what [`leave`] takes.
pub(crate) struct Seat(UnixStream);

/// A witness that is yet to be left, and its seat.
pub(crate) fn appoint() -> io::Result<(Witness, Seat)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(LIMIT))?;
    let witness = Witness {
        line: ours,
        asked: AtomicU8::new(0),
    };
    Ok((witness, Seat(theirs)))
}

impl Witness {
    /// The process group in the foreground, as the kernel says it.
    pub(crate) fn foreground(&self) -> io::Result<i32> {
        let question = self.asked.fetch_add(1, Ordering::Relaxed);
        (&self.line).write_all(&[question])?;
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            let mut answer = [0; ANSWER];
            (&self.line).read_exact(&mut answer)?;
            let [number, group @ ..] = answer;
            if number == question {
                return Ok(i32::from_ne_bytes(group));
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl AsRawFd for Seat {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Leaves a witness in this process's session, and none of its children. `inside` is the terminal.
///
/// # Safety
///
/// Every signal is blocked, and between `fork` and `exec`: only system calls are made.
pub(crate) unsafe fn leave(seat: RawFd, inside: RawFd) -> nix::Result<()> {
    // SAFETY: without an own stack it goes on as a copy on a copy of this one. Not `fork`, which
    // would run what others have registered for it.
    let fork =
        || Errno::result(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) });
    let first = fork()?;
    if first == 0 {
        // The parent of the witness ends at once, so that it becomes PID 1's.
        let status = match fork() {
            Ok(0) => answer(seat, inside),
            Ok(_) => 0,
            Err(_) => 1,
        };
        // SAFETY: ends the copy without running anything of the original's.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    let first = libc::pid_t::try_from(first).map_err(|_| Errno::ECHILD)?;
    // SAFETY: `status` outlives the call, and nobody else waits for this child.
    Errno::result(unsafe { libc::waitpid(first, &mut status, 0) })?;
    match status {
        0 => Ok(()),
        _ => Err(Errno::EAGAIN),
    }
}

/// Answers until nobody can ask any more.
fn answer(seat: RawFd, inside: RawFd) -> libc::c_int {
    // By its own name, as `/dev/tty` cannot be opened on every kernel.
    let mut terminal = [0_u8; 64];
    // SAFETY: plain system calls. What is closed here is a copy, in a process of its own. The name
    // leaves room for the zero that ends it.
    unsafe {
        let room = terminal.len() - 1;
        let link = c"/proc/self/fd/0".as_ptr();
        libc::dup2(inside, 0);
        if libc::readlink(link, terminal.as_mut_ptr().cast(), room) <= 0 {
            return 1;
        }
        // A process group of its own, so that it is signalled with no other.
        libc::setpgid(0, 0);
        // What it held of the agent and of the terminal would keep these from ending.
        if libc::dup2(seat, SEAT) < 0 {
            return 1;
        }
        for number in 0..SEAT {
            libc::close(number);
        }
        let after = libc::c_uint::try_from(SEAT + 1).unwrap_or(LAST_DESCRIPTOR);
        if libc::close_range(after, LAST_DESCRIPTOR, 0) < 0 {
            return 1;
        }
        libc::prctl(libc::PR_SET_NAME, c"pyro-terminal".as_ptr());
    }
    // It ends with everybody else. All other signals stay blocked.
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&end), None);
    let mut question = [0_u8; 1];
    // SAFETY: plain system calls on descriptors that are open, with buffers that outlive them.
    unsafe {
        while libc::read(SEAT, question.as_mut_ptr().cast(), 1) == 1 {
            let mut group: libc::pid_t = 0;
            let how = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
            let opened = libc::open(terminal.as_ptr().cast(), how);
            if opened >= 0 {
                libc::ioctl(opened, libc::TIOCGPGRP, &mut group);
                libc::close(opened);
            }
            let mut answer = [0; ANSWER];
            answer[0] = question[0];
            answer[1..].copy_from_slice(&group.to_ne_bytes());
            libc::write(SEAT, answer.as_ptr().cast(), answer.len());
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use crate::pty::Pty;
    use crate::reaper::CHILDREN;
    use crate::spawn::{PreExec, Program};

    #[tokio::test]
    async fn a_witness_tells_the_foreground_and_ends_with_who_asks() {
        let _children = CHILDREN.lock().await;
        let size = pyro_wire::shells::Size { cols: 80, rows: 24 };
        let (pty, inside) = Pty::open(size).unwrap();
        let (witness, seat) = super::appoint().unwrap();
        let words = ["sleep", "20"].map(OsString::from);
        let path = std::env::var_os("PATH").unwrap();
        let stdio = [
            inside.try_clone().unwrap(),
            inside.try_clone().unwrap(),
            inside,
        ];
        let program = Program::new(&words, [("PATH".into(), path)], stdio).unwrap();
        let root = File::open("/").unwrap();
        let leader = program
            .spawn(&PreExec {
                cwd: root.as_raw_fd(),
                cgroup_procs: None,
                dies_with_parent: true,
                loses_protection: false,
                controlling_terminal: true,
                witness: Some(seat.as_raw_fd()),
                user: None,
            })
            .unwrap();
        drop((program, seat));
        assert_eq!(witness.foreground().unwrap(), leader);
        assert_eq!(pty.foreground(), Some(leader));
        // SAFETY: it is our child, and nobody has waited for it.
        unsafe { libc::kill(leader, libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        assert_eq!(unsafe { libc::waitpid(leader, &mut status, 0) }, leader);
        // It holds the terminal's other end no more than the program does.
        let mut buffer = [0; 16];
        while pty.read_now(&mut buffer) != Some(0) {
            pty.readable().await;
        }
    }
}
