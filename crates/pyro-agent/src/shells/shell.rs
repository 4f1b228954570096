//! One shell: its terminal, what it wrote, and its end.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::termios::Termios;
use pyro_wire::Bytes;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::redaction::Redactor;
use pyro_wire::shells::{self as wire, ShellEnd, ShellOpen, ShellOutput, ShellRead, Size};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::canonical::{self, MAX_LINE};
use super::decoder::Decoder;
use super::ring::{Piece, Ring};
use super::scrollback::Scrollback;
use crate::cgroup::MemoryEvents;
use crate::group::Group;
use crate::launcher::Launcher;
use crate::lock::lock;
use crate::pty::Pty;
use crate::reaper::{Exit, Reaper};

/// How long a shell may take to end when it is hung up on, and then when it is killed.
const HANG_UP_LIMIT: Duration = Duration::from_secs(5);
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How long a program may not read at all before what is typed for it is refused.
const INPUT_LIMIT: Duration = Duration::from_secs(5);

/// A long line is typed in parts of so many bytes. How often we look whether one was read, and how
/// long a program may take after that to change the terminal for what it starts.
const PART: usize = 3072;
const LOOK: Duration = Duration::from_millis(5);
const SETTLE: Duration = Duration::from_millis(200);

/// A shell that writes more than is kept and that nobody reads is read only so often. It waits for
/// us meanwhile, and does not use up the guest's processor.
const THROTTLE: Duration = Duration::from_millis(50);
const THROTTLED_READ: usize = 64 * 1024;

/// What looks like the beginning of a secret is shown when nothing follows for so long, unless so
/// many bytes of it are there.
const HELD_LIMIT: Duration = Duration::from_millis(100);
const HELD_MOST: u64 = 3;

/// What is read of a terminal before others have their turn.
const BUFFER: usize = 16 * 1024;

/// How much may still be in a terminal when its shell has ended.
const REST: usize = 256 * 1024;

/// A read waits no longer than this, whatever was asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) struct Shell {
    pub(super) id: String,
    cwd: Bytes,
    started_ms: u64,
    leader: i32,
    pty: Pty,
    reaper: Arc<Reaper>,
    memory: MemoryEvents,
    scrollback: Arc<Scrollback>,
    state: Mutex<State>,
    /// Told whenever there is more output, and at the end.
    changed: watch::Sender<()>,
    /// Held by the one who types.
    typing: tokio::sync::Mutex<Typing>,
    /// Asks for the end.
    close: mpsc::Sender<()>,
    closed: watch::Sender<bool>,
}

/// What was typed last.
#[derive(Default)]
struct Typing {
    /// How long the line is that has no end yet, in canonical mode.
    pending: usize,
}

/// What becomes of a line that is longer than the terminal keeps of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LongLines {
    /// It is not typed, and whoever typed it is told.
    Refused,
    /// The kernel drops what is too much, as it does for everybody at a terminal.
    Cut,
}

struct State {
    size: Size,
    ring: Ring,
    redactor: Redactor,
    decoder: Decoder,
    /// Up to where somebody has read.
    seen: u64,
    oom_killed: bool,
    end: Option<ShellEnd>,
}

impl Shell {
    /// A shell whose program was just started, and what hears that it is to be closed.
    pub(super) fn new(
        request: ShellOpen,
        cwd: &str,
        pty: Pty,
        leader: i32,
        memory: MemoryEvents,
        launcher: &Launcher,
        scrollback: Arc<Scrollback>,
    ) -> (Self, mpsc::Receiver<()>) {
        let (close, closing) = mpsc::channel(1);
        let shell = Self {
            id: request.id,
            cwd: launcher.secrets.redact(cwd).into_bytes().into(),
            started_ms: now_ms(),
            leader,
            pty,
            reaper: Arc::clone(&launcher.reaper),
            memory,
            scrollback,
            state: Mutex::new(State {
                size: request.size,
                ring: Ring::default(),
                redactor: launcher.secrets.redactor(),
                decoder: Decoder::default(),
                seen: 0,
                oom_killed: false,
                end: None,
            }),
            changed: watch::Sender::new(()),
            typing: tokio::sync::Mutex::default(),
            close,
            closed: watch::Sender::new(false),
        };
        (shell, closing)
    }

    /// Keeps what its terminal shows, until it is closed.
    pub(super) async fn run(
        &self,
        group: Group<'_>,
        exit: oneshot::Receiver<Exit>,
        closing: mpsc::Receiver<()>,
    ) {
        tokio::select! {
            () = self.supervise(group, exit, closing) => {}
            () = self.carry_output() => {}
        }
        self.closed.send_replace(true);
        self.changed.send_replace(());
    }

    pub(super) fn info(&self) -> wire::Shell {
        let state = lock(&self.state);
        wire::Shell {
            id: self.id.clone(),
            cwd: self.cwd.clone(),
            size: state.size,
            started_ms: self.started_ms,
            oom_killed: state.oom_killed || self.memory.oom_killed(),
            end: state.end,
        }
    }

    pub(super) fn end(&self) -> Option<ShellEnd> {
        lock(&self.state).end
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Output from a character on.
    pub(super) fn piece(&self, cursor: u64, max_chars: u64, before_chars: u64) -> Piece {
        let mut state = lock(&self.state);
        let piece = state.ring.read(cursor, max_chars, before_chars);
        if !piece.more {
            state.seen = state.ring.end();
        }
        piece
    }

    pub(super) async fn read(&self, request: &ShellRead) -> ShellOutput {
        if let Some(idle_ms) = request.idle_ms {
            self.settle(request, Duration::from_millis(idle_ms)).await;
        }
        let piece = self.piece(request.cursor, request.max_chars, request.before_chars);
        ShellOutput {
            shell: self.info(),
            cursor: piece.cursor,
            before: piece.before,
            text: piece.text,
            more: piece.more,
        }
    }

    /// Waits until nothing was written for so long, or there is no reason to wait.
    async fn settle(&self, request: &ShellRead, idle: Duration) {
        let longest = Duration::from_millis(request.at_most_ms).min(LONGEST_WAIT);
        let deadline = Instant::now() + longest;
        let mut changes = self.changes();
        loop {
            let wanted = request.cursor.saturating_add(request.max_chars);
            let (end, is_over) = {
                let state = lock(&self.state);
                (state.ring.end(), state.end.is_some())
            };
            if is_over || self.is_closed() || end >= wanted {
                return;
            }
            let quiet = (Instant::now() + idle.min(LONGEST_WAIT)).min(deadline);
            match timeout_at(quiet, changes.changed()).await {
                Ok(Ok(())) if Instant::now() < deadline => {}
                _ => return,
            }
        }
    }

    pub(super) async fn write(&self, input: &[u8], long: LongLines) -> Result<(), Fault> {
        self.must_run()?;
        let whole = input.len();
        let Ok(mut typing) = timeout(INPUT_LIMIT, self.typing.lock()).await else {
            return Err(not_reading(0, whole));
        };
        let mut rest = input;
        if long == LongLines::Refused {
            while let Some(at) = self.long_line(&typing, rest)? {
                let (before, line) = rest.split_at(at.start);
                self.put(&mut typing, before, whole - rest.len(), whole)
                    .await?;
                rest = line;
                let (line, after) = line.split_at(at.len());
                self.put_long_line(&mut typing, line, whole - rest.len(), whole)
                    .await?;
                rest = after;
            }
        }
        self.put(&mut typing, rest, whole - rest.len(), whole).await
    }

    /// Where in the input a line is that a terminal in canonical mode would cut.
    fn long_line(&self, typing: &Typing, input: &[u8]) -> Result<Option<Range<usize>>, Fault> {
        let settings = self.settings()?;
        let (mut pending, mut start) = (typing.pending, 0);
        for line in canonical::lines(input, &settings) {
            if pending + canonical::kept_of(line, &settings) > MAX_LINE {
                return Ok(Some(start..start + line.len()));
            }
            pending = 0;
            start += line.len();
        }
        Ok(None)
    }

    /// Types a line in parts, as long as the program takes them one by one.
    async fn put_long_line(
        &self,
        typing: &mut Typing,
        line: &[u8],
        before: usize,
        whole: usize,
    ) -> Result<(), Fault> {
        let mut done = 0;
        for part in line.chunks(PART) {
            let settle = if done == 0 { SETTLE } else { Duration::ZERO };
            let length = typing.pending + canonical::kept_of(&line[done..], &self.settings()?);
            if self.becomes_canonical(settle, before + done, whole).await? && length > MAX_LINE {
                let words = format!(
                    "the program in it reads whole lines, and the terminal would cut a line of {} \
                     bytes to {MAX_LINE}; {} of {whole} bytes were typed",
                    length + done,
                    before + done,
                );
                return Err(Fault::new(FaultCode::LineTooLong, words));
            }
            self.put(typing, part, before + done, whole).await?;
            done += part.len();
        }
        Ok(())
    }

    /// Whether the terminal is in canonical mode once what runs in it has read what was typed before.
    async fn becomes_canonical(
        &self,
        settle: Duration,
        done: usize,
        whole: usize,
    ) -> Result<bool, Fault> {
        let deadline = Instant::now() + INPUT_LIMIT;
        let mut settled = Instant::now() + settle;
        loop {
            if canonical::is_canonical(&self.settings()?) {
                return Ok(true);
            }
            match self.pty.unread() {
                // A shell that has read a command changes the terminal before it starts it.
                Ok(0) if Instant::now() >= settled => return Ok(false),
                Ok(0) => {}
                _ => settled = Instant::now() + settle,
            }
            if Instant::now() > deadline {
                return Err(not_reading(done, whole));
            }
            sleep(LOOK).await;
        }
    }

    /// Types this, of which so much of the whole was typed before.
    async fn put(
        &self,
        typing: &mut Typing,
        mut rest: &[u8],
        before: usize,
        whole: usize,
    ) -> Result<(), Fault> {
        let length = rest.len();
        while !rest.is_empty() {
            let settings = self.settings()?;
            match timeout(INPUT_LIMIT, self.pty.write(rest)).await {
                Ok(Ok(count)) => {
                    let (done, more) = rest.split_at(count.min(rest.len()));
                    typing.pending = match canonical::is_canonical(&settings) {
                        true => canonical::pending_after(typing.pending, done, &settings),
                        false => 0,
                    };
                    rest = more;
                }
                Ok(Err(_)) => return Err(self.hung_up()),
                Err(_) => return Err(not_reading(before + length - rest.len(), whole)),
            }
        }
        Ok(())
    }

    fn settings(&self) -> Result<Termios, Fault> {
        self.pty.settings().map_err(|_| self.hung_up())
    }

    fn hung_up(&self) -> Fault {
        let words = "the shell's terminal was hung up";
        match self.must_run() {
            Ok(()) => Fault::new(FaultCode::Refused, words),
            Err(fault) => fault,
        }
    }

    /// Signals what runs in the foreground, as keys of a terminal would. Hanging up also reaches
    /// the shell itself, which passes it on to its jobs.
    pub(super) fn signal(&self, number: i32) -> Result<(), Fault> {
        self.must_run()?;
        let foreground = self.pty.foreground();
        if let Some(group) = foreground {
            // SAFETY: `kill` has no memory effects. A bad number is refused by the kernel. The
            // group is one of our terminal's session: nothing else can be its foreground.
            unsafe { libc::kill(-group, number) };
        }
        if number == libc::SIGHUP && foreground != Some(self.leader) || foreground.is_none() {
            self.reaper.signal_group(self.leader, number);
        }
        Ok(())
    }

    pub(super) fn resize(&self, size: Size) -> Result<(), Fault> {
        let mut state = lock(&self.state);
        if state.size != size && state.end.is_none() {
            let failed = |error: std::io::Error| Fault::new(FaultCode::Refused, error.to_string());
            self.pty.resize(size).map_err(failed)?;
            state.size = size;
        }
        Ok(())
    }

    /// Ends it, and returns when that has happened.
    pub(super) async fn close(&self) {
        let mut closed = self.closed.subscribe();
        // Full means that somebody has asked already.
        let _ = self.close.try_send(());
        let limit = HANG_UP_LIMIT + 2 * KILL_LIMIT;
        let _ = timeout(limit, closed.wait_for(|closed| *closed)).await;
    }

    fn must_run(&self) -> Result<(), Fault> {
        match self.end() {
            None => Ok(()),
            Some(end) => Err(Fault::new(
                FaultCode::Over,
                format!("the shell has ended, with exit code {}", end.exit_code),
            )),
        }
    }

    /// From the start of the program to the order to close.
    async fn supervise(
        &self,
        group: Group<'_>,
        mut exit: oneshot::Receiver<Exit>,
        mut closing: mpsc::Receiver<()>,
    ) {
        tokio::select! {
            exit = &mut exit => {
                self.note_memory();
                // What it left running in the background lives on, as with every command.
                drop(group.release());
                self.ended(exit.ok());
                let _ = closing.recv().await;
            }
            _ = closing.recv() => {
                self.note_memory();
                let exit = self.hang_up(group, exit).await;
                self.ended(exit);
            }
        }
    }

    /// What the kernel counted of the group stays when that is gone.
    fn note_memory(&self) {
        lock(&self.state).oom_killed |= self.memory.oom_killed();
    }

    async fn hang_up(&self, group: Group<'_>, mut exit: oneshot::Receiver<Exit>) -> Option<Exit> {
        let _ = self.signal(libc::SIGHUP);
        // A stopped job would not hear it.
        let _ = self.signal(libc::SIGCONT);
        if let Ok(exit) = timeout(HANG_UP_LIMIT, &mut exit).await {
            drop(group.release());
            return exit.ok();
        }
        group.kill();
        timeout(KILL_LIMIT, exit).await.ok().and_then(Result::ok)
    }

    fn ended(&self, exit: Option<Exit>) {
        self.drain(REST);
        self.finish();
        let (exit_code, signal) = match exit {
            Some(Exit::Code(code)) => (code, None),
            Some(Exit::Signal(number)) => (128 + number, Some(number)),
            // It was killed, though it has not noticed yet.
            None => (128 + libc::SIGKILL, Some(libc::SIGKILL)),
        };
        let mut state = lock(&self.state);
        state.end = Some(ShellEnd {
            exit_code,
            signal,
            at_ms: now_ms(),
        });
        drop(state);
        self.changed.send_replace(());
    }

    /// Keeps what the terminal shows, for as long as anybody may write to it.
    async fn carry_output(&self) {
        let mut buffer = vec![0; BUFFER];
        loop {
            tokio::select! {
                () = self.pty.readable() => {}
                () = sleep(HELD_LIMIT), if self.holds_back() => {
                    let bytes = lock(&self.state).redactor.release(HELD_MOST);
                    self.keep_clean(&bytes);
                    // Whatever is still held waits for more.
                    self.pty.readable().await;
                }
            }
            match self.pty.read_now(&mut buffer) {
                None => {}
                Some(0) => break,
                Some(count) => {
                    self.keep(&buffer[..count]);
                    if self.is_flooding() {
                        self.drain(THROTTLED_READ);
                        sleep(THROTTLE).await;
                    } else {
                        yield_now().await;
                    }
                }
            }
        }
        self.finish();
        std::future::pending().await
    }

    /// Nothing follows any more.
    fn finish(&self) {
        let rest = {
            let mut state = lock(&self.state);
            let bytes = state.redactor.finish();
            state.decoder.decode(&bytes) + &state.decoder.finish()
        };
        self.keep_text(&rest);
    }

    fn holds_back(&self) -> bool {
        lock(&self.state).redactor.held() > 0
    }

    /// What is in the terminal by now, so what a shell wrote before it ended.
    fn drain(&self, most: usize) {
        let mut buffer = vec![0; BUFFER];
        let mut taken = 0;
        while taken < most
            && let Some(count @ 1..) = self.pty.read_now(&mut buffer)
        {
            self.keep(&buffer[..count]);
            taken += count;
        }
    }

    fn keep(&self, bytes: &[u8]) {
        let text = {
            let State {
                redactor, decoder, ..
            } = &mut *lock(&self.state);
            decoder.decode(&redactor.push(bytes))
        };
        self.keep_text(&text);
    }

    fn keep_clean(&self, bytes: &[u8]) {
        let text = lock(&self.state).decoder.decode(bytes);
        self.keep_text(&text);
    }

    fn keep_text(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        lock(&self.state).ring.push(text, self.scrollback.limit());
        self.scrollback.wrote();
        self.changed.send_replace(());
    }

    /// Whether so much came since somebody last looked that more only takes the place of it.
    fn is_flooding(&self) -> bool {
        let state = lock(&self.state);
        state.ring.start() > state.seen
    }
}

fn not_reading(done: usize, whole: usize) -> Fault {
    let words =
        format!("the program in the shell read {done} of {whole} bytes and stopped reading");
    Fault::new(FaultCode::Refused, words)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
