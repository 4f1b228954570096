//! A person at a terminal, at which `pyro` runs.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use pyro_tests::Backend;
use pyro_tests::world::eventually;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What nothing at a terminal says but its owner, at the end.
const END: &str = "<end of the session>";

/// A pseudoterminal with `pyro` in it, and what a person at it types and sees.
pub(crate) struct TerminalSession {
    keys: File,
    /// The other end, to see how the terminal is set.
    line: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
    child: Child,
    before: Termios,
}

impl TerminalSession {
    pub(crate) fn at(mut command: Command) -> Self {
        let size = Winsize {
            ws_row: 20,
            ws_col: 70,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn();
        let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (seen, mut from) = (
            Arc::clone(&shown),
            File::from(pty.master.try_clone().unwrap()),
        );
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                seen.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            keys: pty.master.into(),
            line: pty.slave,
            shown,
            child: child.unwrap(),
            before,
        }
    }

    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Presses Ctrl-C. A terminal of gVisor's does not show it, and leaves it in the line.
    pub(crate) fn interrupt(&mut self, backend: Backend) {
        self.type_keys("\u{3}");
        match backend {
            Backend::Gvisor => self.type_keys("\r"),
            Backend::Process | Backend::Vm => self.see("^C"),
        }
    }

    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    pub(crate) fn see(&self, wanted: &str) {
        eventually(wanted, PATIENCE, || self.shown().contains(wanted));
    }

    pub(crate) fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.line).unwrap();
        !now.local_flags
            .intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Makes the terminal another size.
    pub(crate) fn resize(&self, rows: u16, cols: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        nix::ioctl_write_ptr_bad!(set_size, nix::libc::TIOCSWINSZ, Winsize);
        // SAFETY: the descriptor is a terminal, and the size outlives the call.
        unsafe { set_size(std::os::fd::AsRawFd::as_raw_fd(&self.line), &size) }.unwrap();
        // A process without a controlling terminal is not told by the kernel.
        self.signal(Signal::SIGWINCH);
    }

    /// Waits for its end, whatever becomes of the terminal.
    pub(crate) fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    /// Waits for its end, after which the terminal is as it was.
    pub(crate) fn leave(mut self) -> (ExitStatus, String) {
        let mut status = None;
        for _ in 0..PATIENCE.as_millis() / 10 {
            status = self.child.try_wait().unwrap();
            if status.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(status.is_some(), "no end: {:?}", self.shown());
        assert_eq!(tcgetattr(&self.line).unwrap(), self.before);
        // What was written last may still be on its way through the terminal, and is before this.
        nix::unistd::write(&self.line, END.as_bytes()).unwrap();
        self.see(END);
        let shown = self.shown().replace(END, "");
        (status.unwrap(), shown)
    }
}
