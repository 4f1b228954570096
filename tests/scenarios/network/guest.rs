//! The guest of a network story: a workspace that is asked again and again, or, of gVisor, a sandbox
//! of its own for each question.

use std::process::{Command, Stdio};

use pyro_tests::surfaces::Surface;
use pyro_tests::world::finish;
use pyro_tests::{Backend, Workspace, World};
use serde_json::{Value, json};

use super::denials::PROHIBITED;

/// What it is asked with.
pub(crate) const PROBE: &str = include_str!("probe.py");

pub(crate) enum Guest<'a> {
    Workspace(&'a World, Workspace<'a>),
    OneShot(&'a World, &'a [&'a str]),
}

impl<'a> Guest<'a> {
    pub(crate) fn with_network(
        world: &'a World,
        surface: &'a dyn Surface,
        allow_net: &'a [&'a str],
    ) -> Self {
        if world.backend == Backend::Gvisor {
            return Self::OneShot(world, allow_net);
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
        Self::Workspace(world, workspace)
    }

    /// What a function of the probe tells.
    pub(crate) fn look(&self, what: &str) -> Value {
        let parse = |out: &str, all: &str| {
            serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {all}"))
        };
        match self {
            Self::Workspace(_, workspace) => {
                let command = format!("python3 probe.py {what}");
                let ran = workspace.done(
                    "exec",
                    json!({ "command": command, "timeout_seconds": 150 }),
                );
                parse(ran["stdout"].as_str().unwrap(), &format!("{ran:#}"))
            }
            Self::OneShot(..) => {
                let ran = finish(&mut self.probe(what));
                parse(&ran.out(), &ran.err())
            }
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

    /// A command that asks the probe, not started yet; its input stays open for as long as ours.
    pub(crate) fn probe(&self, what: &str) -> Command {
        let words = what.split(' ');
        match self {
            Self::Workspace(world, workspace) => {
                let mut exec = world.pyro(["workspace", "exec", workspace.id()]);
                exec.args(["--timeout-seconds", "170", "--", "python3", "probe.py"]);
                exec.args(words).stdin(Stdio::piped());
                exec
            }
            Self::OneShot(..) => {
                let mut run = self.run(["python3", "-c", PROBE].into_iter().chain(words));
                run.stdin(Stdio::piped());
                run
            }
        }
    }

    /// A command of a sandbox of its own, which hears what is typed.
    pub(crate) fn run<'b>(&self, command: impl IntoIterator<Item = &'b str>) -> Command {
        let Self::OneShot(world, allow_net) = self else {
            panic!("a workspace runs no command of its own")
        };
        let flags = [
            "--mem-mib",
            "256",
            "--timeout-seconds",
            "150",
            "--network",
            "-i",
        ];
        let allow = allow_net.iter().flat_map(|allow| ["--allow-net", allow]);
        let flags: Vec<&str> = flags.into_iter().chain(allow).collect();
        world.run(&flags, command)
    }
}
