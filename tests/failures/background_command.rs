//! A command whose output can be looked at while it works.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_tests::world::eventually;
use pyro_tests::{Ran, World};

/// How long something may take that is due at once. Three seconds are meant; a machine that runs
/// other tests as well gets more.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(10);

/// How long a VM may take to come up on a busy machine without KVM.
const BOOT: Duration = Duration::from_secs(120);

pub(crate) struct BackgroundCommand {
    child: Child,
    started: Instant,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl BackgroundCommand {
    pub(crate) fn start(world: &World, command: &mut Command) -> Self {
        let file = |kind: &str| {
            let name = format!(
                "{kind}-{}",
                fs::read_dir(world.folder()).into_iter().flatten().count()
            );
            let path = world.folder().join(name);
            (File::create(&path).expect("a file for output"), path)
        };
        let (out, stdout) = file("stdout");
        let (err, stderr) = file("stderr");
        let child = command
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            started: Instant::now(),
            stdout,
            stderr,
        }
    }

    /// A run whose command has begun and would go on for hours.
    pub(crate) fn at_work(world: &World) -> Self {
        Self::running(world, world.run(FLAGS, [COMMAND]))
    }

    /// The same, with changes to how it is started.
    pub(crate) fn running(world: &World, command: Command) -> Self {
        Self::running_until(world, command, "at work")
    }

    /// A command that has said something.
    pub(crate) fn running_until(world: &World, mut command: Command, words: &str) -> Self {
        let mut run = Self::start(world, &mut command);
        run.wait_for(words);
        run
    }

    /// Waits until it has said something, on either stream.
    pub(crate) fn wait_for(&mut self, words: &str) {
        let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        eventually(words, BOOT, || {
            let ended = self.child.try_wait().expect("waiting for a child");
            let said = read(&self.stdout) + &read(&self.stderr);
            let is_said = said.contains(words);
            assert!(
                is_said || ended.is_none(),
                "{ended:?} before `{words}`:\n{said}"
            );
            is_said
        });
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("a signal to pyro");
    }

    /// The end, which is due at once.
    #[track_caller]
    pub(crate) fn ends_at_once(self) -> Ran {
        self.ends_within(AT_ONCE)
    }

    #[track_caller]
    pub(crate) fn ends_within(mut self, patience: Duration) -> Ran {
        let mut status = None;
        eventually("the command ends", patience, || {
            status = self.child.try_wait().expect("waiting for a child");
            status.is_some()
        });
        Ran {
            status: status.expect("it has ended"),
            stdout: fs::read(&self.stdout).expect("its output"),
            stderr: fs::read(&self.stderr).expect("its errors"),
            took: self.started.elapsed(),
        }
    }
}

impl Drop for BackgroundCommand {
    fn drop(&mut self) {
        // Only a failed test gets here with a child that still runs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) const FLAGS: &[&str] = &["--mem-mib", "256", "--timeout-seconds", "1000"];
pub(crate) const COMMAND: &str = "echo at work; exec sleep 1000";
