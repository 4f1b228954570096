//! The terminal that pyro runs in, taken over for a while: every key goes through as it is.
//!
//! It is given back as it was in every case that a process can do anything about: when the
//! operation ends, when pyro is told to end, when it panics. So what has to be given back is
//! found from everywhere ([`SAVED`]), and given back once.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use pyro_api::{Disconnected, PersonTerminal, TakenTerminal, TerminalEvent};
use pyro_engine::ScreenModes;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

/// What a person types is mostly one key at a time; a paste is more.
const BUFFER_BYTES: usize = 4096;

/// What has to be undone, while a terminal is taken over.
static SAVED: Mutex<Option<Saved>> = Mutex::new(None);

struct Saved {
    settings: Termios,
    modes: ScreenModes,
    /// Something stands on the last line, which what pyro says next must not follow.
    unfinished: bool,
}

/// Standard input and output, when both are a terminal.
pub(crate) struct Tty(());

impl Tty {
    pub(crate) fn open() -> Option<Arc<Self>> {
        let both = io::stdin().is_terminal() && io::stdout().is_terminal();
        both.then(|| Arc::new(Self(())))
    }
}

impl PersonTerminal for Tty {
    fn shows_errors(&self) -> bool {
        io::stderr().is_terminal()
    }

    fn take(
        &self,
        on_input: Box<dyn Fn(TerminalEvent) + Send + Sync>,
    ) -> io::Result<Box<dyn TakenTerminal>> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        let settings = tcgetattr(io::stdin())?;
        let mut raw = settings.clone();
        cfmakeraw(&mut raw);
        raw.local_flags.remove(LocalFlags::TOSTOP);
        *lock() = Some(Saved {
            settings,
            modes: ScreenModes::default(),
            unfinished: false,
        });
        // From here on every way out gives it back.
        let (woken, wake) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let wake = Arc::new(wake);
        let sizes = tokio::spawn(forward_size_changes(
            signal(SignalKind::window_change())?,
            Arc::clone(&wake),
        ));
        let raw_tty = RawTty {
            over: Arc::new(AtomicBool::new(false)),
            wake,
            sizes,
        };
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        let over = Arc::clone(&raw_tty.over);
        thread::Builder::new()
            .name("keys".into())
            .spawn(move || read_keys(&woken, &over, on_input.as_ref()))?;
        Ok(Box::new(raw_tty))
    }
}

struct RawTty {
    /// Whoever listens still must not any more.
    over: Arc<AtomicBool>,
    /// Wakes the thread that waits for keys.
    wake: Arc<OwnedFd>,
    sizes: JoinHandle<()>,
}

impl TakenTerminal for RawTty {
    fn size(&self) -> (u16, u16) {
        size().unwrap_or((80, 24))
    }

    fn show(&self, bytes: &[u8]) -> Result<(), Disconnected> {
        if let Some(restore) = lock().as_mut() {
            restore.modes.feed(bytes);
            restore.unfinished = bytes
                .last()
                .map_or(restore.unfinished, |last| *last != b'\n');
        }
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|_| Disconnected)
    }
}

impl Drop for RawTty {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.sizes.abort();
        let _ = nix::unistd::write(&self.wake, b"!");
        restore();
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Saved>> {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the terminal back, if it is taken over.
pub(crate) fn restore() {
    // Not a lock that a thread which panics may hold itself.
    let saved = match SAVED.try_lock() {
        Ok(mut restore) => restore.take(),
        Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
        Err(std::sync::TryLockError::WouldBlock) => return,
    };
    let Some(Saved {
        settings,
        modes,
        unfinished,
    }) = saved
    else {
        return;
    };
    // Past the lock of `Stdout` too: it may be held by who panics.
    let _ = nix::unistd::write(io::stdout().as_fd(), modes.undo().as_bytes());
    // What was typed for the shell and did not get there is not for whoever comes next.
    let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &settings);
    if unfinished {
        let _ = nix::unistd::write(io::stdout().as_fd(), b"\r\n");
    }
}

/// Tells keys and sizes, until the terminal is given back. It has a thread of its own: a terminal
/// cannot be read without waiting, unless it is changed for everybody who has it open.
fn read_keys(woken: &OwnedFd, over: &AtomicBool, on_input: &(dyn Fn(TerminalEvent) + Send + Sync)) {
    let stdin = io::stdin();
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let mut ready = [
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            PollFd::new(woken.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(_) => break,
            Ok(_) => {}
        }
        let [keys, sizes] = ready.map(|ready| ready.any() == Some(true));
        if over.load(Ordering::Relaxed) {
            return;
        }
        if sizes {
            let _ = nix::unistd::read(woken, &mut buffer);
            if let Some((cols, rows)) = size() {
                on_input(TerminalEvent::Resized { cols, rows });
            }
        }
        if keys {
            match nix::unistd::read(stdin.as_fd(), &mut buffer) {
                Err(Errno::EINTR) => {}
                Ok(0) | Err(_) => break,
                Ok(count) => on_input(TerminalEvent::Input(buffer[..count].to_vec())),
            }
        }
    }
    on_input(TerminalEvent::HungUp);
}

async fn forward_size_changes(mut changes: Signal, wake: Arc<OwnedFd>) {
    while changes.recv().await.is_some() {
        // One byte for each change never fills a pipe that somebody reads.
        let _ = nix::unistd::write(&wake, b"~");
    }
}

/// Columns and rows of the terminal.
fn size() -> Option<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel writes this one struct.
    let got = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    (got == 0 && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}
