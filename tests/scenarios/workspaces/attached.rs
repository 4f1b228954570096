//! `pyro workspace shell attach`: a person's terminal on a shell.

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
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::{eventually, finish};
use pyro_tests::{Workspace, World};
use serde_json::json;

crate::stories! { [vm]: a_person_comes_leaves_and_comes_back }

const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal with a person at it, and `pyro` in it.
pub(super) struct Seat {
    keys: File,
    /// The other end, to see how the terminal is set.
    line: OwnedFd,
    shown: Arc<Mutex<String>>,
    child: Child,
    before: Termios,
}

impl Seat {
    fn attach(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.pyro(["workspace", "shell", "attach"]);
        command.args(arguments);
        Self::take(command)
    }

    pub(super) fn take(mut command: Command) -> Self {
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
        let shown = Arc::new(Mutex::new(String::new()));
        let (seen, mut from) = (
            Arc::clone(&shown),
            File::from(pty.master.try_clone().unwrap()),
        );
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                seen.lock().unwrap().push_str(&text);
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

    pub(super) fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    pub(super) fn see(&self, wanted: &str) {
        eventually(wanted, PATIENCE, || self.shown().contains(wanted));
    }

    fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.line).unwrap();
        !now.local_flags
            .intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end, after which the terminal is as it was.
    pub(super) fn leave(mut self) -> (ExitStatus, String) {
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
        (status.unwrap(), self.shown())
    }
}

fn a_person_comes_leaves_and_comes_back(world: &World) {
    let door = CommandLine(world);
    let workspace = Workspace::new(world, &door);
    let id = workspace.id().to_owned();

    // Without a terminal there is nothing to attach.
    let refused = finish(&mut world.pyro(["workspace", "shell", "attach", &id, "--json"]));
    assert_eq!(
        (refused.code(), &refused.json()["code"]),
        (1, &json!("invalid_argument"))
    );

    // A new shell, as large as the terminal, that follows its size.
    let mut seat = Seat::attach(world, &[&id]);
    seat.see("pyro$ ");
    assert!(seat.is_raw());
    seat.type_keys("stty size\r");
    seat.see("20 70");
    let size = Winsize {
        ws_row: 33,
        ws_col: 99,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    nix::ioctl_write_ptr_bad!(set_size, nix::libc::TIOCSWINSZ, Winsize);
    // SAFETY: the descriptor is a terminal, and the size outlives the call.
    unsafe { set_size(std::os::fd::AsRawFd::as_raw_fd(&seat.line), &size) }.unwrap();
    // A process without a controlling terminal is not told by the kernel.
    seat.signal(Signal::SIGWINCH);
    eventually("the new size", PATIENCE, || {
        seat.type_keys("stty size\r");
        std::thread::sleep(Duration::from_millis(100));
        seat.shown().contains("33 99")
    });
    // Keys mean what they mean in a terminal.
    seat.type_keys("sleep 1000\r");
    seat.see("sleep 1000");
    std::thread::sleep(Duration::from_millis(300));
    seat.type_keys("\u{3}");
    seat.see("^C");
    // A program that changes the terminal, and is left running.
    seat.type_keys("printf '\\033[?1049h\\033[?25l\\033[2J\\033[4;4Ha %s' screen; read\r");
    seat.see("a screen");
    seat.type_keys("\u{1d}");
    let (status, shown) = seat.leave();
    assert_eq!(status.code(), Some(0), "{shown:?}");
    assert!(shown.contains("\u{1b}[?1049l\u{1b}[?25h"), "{shown:?}");
    let said = shown.split("the shell runs on: `").nth(1).unwrap();
    let shell_id = said
        .split('`')
        .next()
        .unwrap()
        .split(' ')
        .next_back()
        .unwrap()
        .to_owned();

    // Whoever comes back sees the screen, with the keys of their choice.
    let keys = ["--detach-keys", "ctrl-p,ctrl-q"];
    let mut seat = Seat::attach(world, &[&id, &shell_id[..6], keys[0], keys[1]]);
    seat.see("a screen");
    assert!(seat.shown().contains("\u{1b}[?25l"), "{:?}", seat.shown());
    seat.type_keys("\r");
    seat.see("pyro$ ");
    seat.type_keys("\u{10}\u{11}");
    let (status, shown) = seat.leave();
    assert_eq!(status.code(), Some(0), "{shown:?}");

    // Told to end, pyro gives the terminal back; the shell does not notice.
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let seat = Seat::attach(world, &[&id, &shell_id]);
        seat.see("pyro$ ");
        eventually("it is taken", PATIENCE, || seat.is_raw());
        seat.signal(signal);
        let (status, shown) = seat.leave();
        assert_eq!(status.code(), Some(code), "{shown:?}");
    }
    // Killed, it cannot; the shell does not notice that either.
    let mut seat = Seat::attach(world, &[&id, &shell_id]);
    seat.see("pyro$ ");
    seat.signal(Signal::SIGKILL);
    seat.child.wait().unwrap();

    // Its end is the end of the command.
    let mut seat = Seat::attach(world, &[&id, &shell_id]);
    seat.see("pyro$ ");
    seat.type_keys("exit 5\r");
    let (status, shown) = seat.leave();
    assert_eq!(status.code(), Some(5), "{shown:?}");
    let read = workspace
        .shell("read", json!({ "shell_id": shell_id }))
        .unwrap();
    assert_eq!(
        (&read["state"], &read["exit_code"]),
        (&json!("stopped"), &json!(5))
    );

    // A VM that goes away is told, on a terminal that is itself again.
    let seat = Seat::attach(world, &[&id]);
    seat.see("pyro$ ");
    workspace.done("stop", json!({}));
    // It was killed with everything else in the guest, unless the VM was gone before that was told.
    let (status, shown) = seat.leave();
    assert!(
        matches!(status.code(), Some(1 | 137)),
        "{status:?} {shown:?}"
    );
}
