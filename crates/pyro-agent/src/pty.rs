//! A terminal of the kernel: our end of it, which never blocks.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::task::{Context, Poll, Waker};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::pty::{posix_openpt, unlockpt};
use nix::sys::termios::{InputFlags, SetArg, Termios, tcgetattr, tcsetattr};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::shells::{MAX_TERMINAL_SIDE, Size};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::witness::{self, Seat, Witness};

/// Our end. Dropping it hangs up on whatever still runs in the terminal.
pub(crate) struct Pty {
    master: AsyncFd<OwnedFd>,
    /// Who tells the foreground where the kernel does not.
    witness: Option<Witness>,
}

impl Pty {
    /// A new terminal, and the end for the program in it.
    pub(crate) fn open(size: Size) -> io::Result<(Self, OwnedFd)> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let master = posix_openpt(flags)?;
        unlockpt(&master)?;
        let master = OwnedFd::from(master);
        let inside = other_end(master.as_raw_fd())?;
        let mut settings = tcgetattr(&inside)?;
        // Erasing takes a whole character.
        settings.input_flags |= InputFlags::IUTF8;
        tcsetattr(&inside, SetArg::TCSANOW, &settings)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        // SAFETY: it is open, and owned by what is registered, which never closes it before.
        let registered = unsafe { AsyncFd::register_with_interest(master, interest) };
        let pty = Self {
            master: registered.map_err(|error| error.into_parts().1)?,
            witness: None,
        };
        pty.set_size(size)?;
        Ok((pty, inside))
    }

    /// A seat for the witness that this terminal needs, if it does.
    pub(crate) fn appoint_witness(&mut self) -> io::Result<Option<Seat>> {
        if foreground(self.fd()) != Err(Errno::ENOTTY) {
            return Ok(None);
        }
        let (witness, seat) = witness::appoint()?;
        self.witness = Some(witness);
        Ok(Some(seat))
    }

    /// Whoever runs in the foreground hears of it (`SIGWINCH`).
    pub(crate) fn resize(&self, size: Size) -> io::Result<()> {
        self.set_size(size)?;
        if self.witness.is_some()
            && let Some(group) = self.foreground()
        {
            // SAFETY: `kill` has no memory effects. The group is one of our terminal's session.
            unsafe { libc::kill(-group, libc::SIGWINCH) };
        }
        Ok(())
    }

    fn set_size(&self, size: Size) -> io::Result<()> {
        let size = libc::winsize {
            ws_row: size.rows,
            ws_col: size.cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the kernel reads this one struct.
        Errno::result(unsafe { libc::ioctl(self.fd(), libc::TIOCSWINSZ, &size) })?;
        Ok(())
    }

    /// How the program inside has set it.
    pub(crate) fn settings(&self) -> io::Result<Termios> {
        Ok(tcgetattr(self.master.get_ref())?)
    }

    /// How much of what was written nobody inside has read yet. Where whole lines are handed over,
    /// one without an end does not count.
    pub(crate) fn unread(&self) -> io::Result<usize> {
        let inside = other_end(self.fd())?;
        let mut count: libc::c_int = 0;
        // SAFETY: the kernel writes this one number.
        Errno::result(unsafe { libc::ioctl(inside.as_raw_fd(), libc::FIONREAD, &mut count) })?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// The process group that runs in the foreground.
    pub(crate) fn foreground(&self) -> Option<i32> {
        let group = match &self.witness {
            None => foreground(self.fd()).ok()?,
            Some(witness) => witness.foreground().ok()?,
        };
        // Neither 0 nor 1 may ever be signalled by what a guest says.
        (group > 1).then_some(group)
    }

    pub(crate) async fn readable(&self) {
        if let Ok(mut guard) = self.master.readable().await {
            guard.retain_ready();
        }
    }

    /// What is there now: `None` when there is nothing, 0 when there will never be.
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> Option<usize> {
        // Taken before the look: what comes after it is not to be forgotten with it.
        let mut cx = Context::from_waker(Waker::noop());
        let mut known = match self.master.poll_read_ready(&mut cx) {
            Poll::Ready(Ok(guard)) => Some(guard),
            _ => None,
        };
        loop {
            return match nix::unistd::read(self.master.get_ref(), buffer) {
                Ok(count) => Some(count),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => {
                    if let Some(guard) = &mut known {
                        guard.clear_ready();
                    }
                    None
                }
                // The kernel's word for: nobody has the other end open.
                Err(_) => Some(0),
            };
        }
    }

    /// Writes some of it, as soon as the terminal takes any.
    pub(crate) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.master
            .async_io(Interest::WRITABLE, |fd| Ok(nix::unistd::write(fd, bytes)?))
            .await
    }

    fn fd(&self) -> RawFd {
        self.master.get_ref().as_raw_fd()
    }
}

pub(crate) fn check_size(size: Size) -> Result<(), Fault> {
    let sides = 1..=MAX_TERMINAL_SIDE;
    match sides.contains(&size.cols) && sides.contains(&size.rows) {
        true => Ok(()),
        false => Err(Fault::new(
            FaultCode::Refused,
            format!("a terminal has 1 to {MAX_TERMINAL_SIDE} columns and rows"),
        )),
    }
}

/// What the kernel tells the other end of a terminal.
fn foreground(master: RawFd) -> nix::Result<i32> {
    let mut group: libc::pid_t = 0;
    // SAFETY: the kernel writes this one number.
    Errno::result(unsafe { libc::ioctl(master, libc::TIOCGPGRP, &mut group) })?;
    Ok(group)
}

/// The end of a terminal for what runs in it.
fn other_end(master: RawFd) -> io::Result<OwnedFd> {
    let how = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: opens the other end of an open terminal, by descriptor and not by name.
    let inside = match Errno::result(unsafe { libc::ioctl(master, libc::TIOCGPTPEER, how) }) {
        // gVisor knows only the name.
        Err(Errno::ENOTTY) => return by_name(master, how),
        inside => inside?,
    };
    // SAFETY: the kernel just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(inside) })
}

fn by_name(master: RawFd, how: libc::c_int) -> io::Result<OwnedFd> {
    let mut number: libc::c_int = 0;
    // SAFETY: the kernel writes this one number.
    Errno::result(unsafe { libc::ioctl(master, libc::TIOCGPTN, &mut number) })?;
    let inside = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(how)
        .open(format!("/dev/pts/{number}"))?;
    Ok(inside.into())
}
