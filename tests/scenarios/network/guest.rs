//! The guest of a network story: a workspace, or, of gVisor, sandboxes of one command each. Python begins
//! slowly where everything is emulated, so one probe is asked for as long as it lives.

use std::cell::RefCell;
use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use pyro_tests::surfaces::Surface;
use pyro_tests::world::{Running, eventually};
use pyro_tests::{Backend, Workspace, World};
use serde_json::{Value, json};

use super::denials::PROHIBITED;

/// What it is asked with.
pub(crate) const PROBE: &str = include_str!("probe.py");

pub(crate) enum Guest<'a> {
    Workspace(&'a World, Workspace<'a>, RefCell<Option<Probe>>),
    OneShot(&'a World, &'a [&'a str], RefCell<Option<Probe>>),
}

/// The probe at work, which is asked one thing after the other.
pub(crate) struct Probe {
    running: Running,
    questions: Option<ChildStdin>,
    asked: usize,
}

impl Probe {
    fn start(mut command: Command) -> Self {
        let mut running = Running::start(command.stdin(Stdio::piped()));
        let questions = running.child.stdin.take();
        Self {
            running,
            questions,
            asked: 0,
        }
    }

    /// What it says to a question; nothing, where it has ended, with its guest or before it.
    fn ask(&mut self, what: &str) -> Option<String> {
        // One that has ended hears nothing any more, which shows below.
        let _ = self.questions.as_mut().map(|pipe| writeln!(pipe, "{what}"));
        let (mut answer, mut over) = (None, false);
        eventually(&format!("an answer to {what:?}"), LONG, || {
            // In this order, as the last answer is complete when the probe has ended.
            over = self.running.child.try_wait().unwrap().is_some();
            let out = self.running.out();
            let mut whole = out
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            answer = whole.nth(self.asked).map(str::to_owned);
            answer.is_some() || over
        });
        self.asked += 1;
        answer
    }
}

/// It ends when nobody asks any more, and a sandbox with it.
impl Drop for Probe {
    fn drop(&mut self) {
        self.questions.take();
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.running.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.running.child.kill();
        let _ = self.running.child.wait();
    }
}

const LONG: Duration = Duration::from_secs(150);

impl<'a> Guest<'a> {
    pub(crate) fn with_network(
        world: &'a World,
        surface: &'a dyn Surface,
        allow_net: &'a [&'a str],
    ) -> Self {
        if world.backend == Backend::Gvisor {
            return Self::OneShot(world, allow_net, RefCell::default());
        }
        let seed = world.folder().join("seed");
        std::fs::create_dir(&seed).unwrap();
        std::fs::write(seed.join("probe.py"), PROBE).unwrap();
        let workspace = Workspace::with(
            world,
            surface,
            json!({ "network_policy": "egress", "seed_path": seed, "allow_net": allow_net }),
        );
        assert_eq!(workspace.created["network_enabled"], true);
        Self::Workspace(world, workspace, RefCell::default())
    }

    /// What a function of the probe tells.
    pub(crate) fn look(&self, what: &str) -> Value {
        let mut asked = self.asked().borrow_mut();
        // One that was killed, or ended with its guest, is followed by another.
        let answer = asked.as_mut().and_then(|probe| probe.ask(what));
        let answer = answer.or_else(|| asked.insert(Probe::start(self.probe(""))).ask(what));
        let err = || asked.as_ref().map(|probe| probe.running.err());
        let answer = answer.unwrap_or_else(|| panic!("{what}: {:?}", err()));
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {what}: {answer}"))
    }

    /// Ends the probe that was asked, and with it the sandbox that it had for itself.
    pub(crate) fn rest(&self) {
        self.asked().take();
    }

    fn asked(&self) -> &RefCell<Option<Probe>> {
        match self {
            Self::Workspace(.., asked) | Self::OneShot(.., asked) => asked,
        }
    }

    /// How it looks at many addresses that do not answer.
    pub(crate) fn glance(&self) -> &'static str {
        match self {
            Self::Workspace(..) => "look",
            Self::OneShot(..) => "glance",
        }
    }

    /// Whether this is what it hears of an address that is forbidden. gVisor's kernel passes the news on
    /// to connections of IPv4 alone; others wait in vain.
    pub(crate) fn is_denial(&self, way: &str, address: &str, answer: &str) -> bool {
        let is_told = matches!(self, Self::Workspace(..)) || way == "tcp" && !address.contains(':');
        PROHIBITED.contains(&answer) || !is_told && answer == "timeout"
    }

    /// A command that asks the probe, not started yet; its input stays open for as long as ours. Without a
    /// question the probe reads them from there.
    pub(crate) fn probe(&self, what: &str) -> Command {
        let mut command = match self {
            Self::Workspace(world, workspace, _) => {
                let mut exec = world.pyro(["workspace", "exec", workspace.id()]);
                exec.args(["--timeout-seconds", "600", "--", "python3", "probe.py"]);
                exec
            }
            Self::OneShot(..) => self.run(["python3", "-c", PROBE]),
        };
        command.args(what.split_whitespace()).stdin(Stdio::piped());
        command
    }

    /// A command of a sandbox of its own, which hears what is typed.
    pub(crate) fn run<'b>(&self, command: impl IntoIterator<Item = &'b str>) -> Command {
        let Self::OneShot(world, allow_net, _) = self else {
            panic!("a workspace runs no command of its own")
        };
        let flags = [
            "--mem-mib",
            "256",
            "--timeout-seconds",
            "600",
            "--network",
            "-i",
        ];
        let allow = allow_net.iter().flat_map(|allow| ["--allow-net", allow]);
        let flags: Vec<&str> = flags.into_iter().chain(allow).collect();
        world.run(&flags, command)
    }
}
