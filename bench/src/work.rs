//! Work that takes a while: the same natively, in a sandbox and in a VM. `work.py` does it and tells
//! what it took; starts are not counted.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::process::Command;

use super::bubblewrap::{self, Bubblewrap};
use super::contender::{Contender, Goal, League, Turn, Work};
use super::gvisor::Gvisor;
use super::process;
use super::pyro::Pyro;

/// Has a compiler.
pub(crate) const ENVIRONMENT: &str = "debian:12-build";

const PROGRAM: &str = include_str!("work.py");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Loop,
    Tests,
    Compile,
    Files,
}

impl Task {
    const ALL: [Self; 4] = [Self::Loop, Self::Tests, Self::Compile, Self::Files];

    fn name(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Tests => "tests",
            Self::Compile => "compile",
            Self::Files => "files",
        }
    }

    /// Of a sandbox, times what it takes natively.
    fn goal(self) -> Option<Goal> {
        match self {
            Self::Loop => Some(Goal::Ratio(1.5)),
            Self::Tests | Self::Compile => Some(Goal::Ratio(2.0)),
            Self::Files => None,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Loop => "a loop in Python",
            Self::Tests => "a test suite in Python",
            Self::Compile => "a C project, compiled by `gcc -O2`",
            Self::Files => "`git add`, `commit` and `status` of 1,000 files",
        })
    }
}

/// `rootfs`: the files of [`ENVIRONMENT`].
pub(crate) fn contenders(
    pyro: &Pyro,
    gvisor: &Gvisor,
    bubblewrap: &Bubblewrap,
    rootfs: &Path,
) -> Vec<Contender> {
    let mut contenders = Vec::new();
    for task in Task::ALL {
        let in_guest = |isolation| InGuest {
            pyro: pyro.clone(),
            isolation,
            task,
        };
        let native = format!("natively: {task}");
        let native = match bubblewrap.why_not() {
            None => Contender::new(native, Native(words(rootfs, task))),
            Some(why) => Contender::missing(native, why),
        };
        let sandbox = gvisor.row(format!("in a sandbox: {task}"), || in_guest("gvisor"));
        let vm = Contender::new(format!("in a VM: {task}"), in_guest("vm"));
        let league = League::Work(task);
        contenders.extend([
            native.league(league).yardstick(),
            sandbox.league(league).goal(task.goal()),
            vm.league(league),
        ]);
    }
    contenders
}

fn words(rootfs: &Path, task: Task) -> Vec<String> {
    // In the memory of its own `/tmp`, so that nothing of it is left.
    let python = ["env", "WORK=/tmp", "python3", "-c", PROGRAM, task.name()];
    bubblewrap::words(&rootfs.to_string_lossy())
        .into_iter()
        .chain(python)
        .map(str::to_owned)
        .collect()
}

/// A process that tells what its work took.
struct Native(Vec<String>);

impl Work for Native {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let mut command = Command::new(&self.0[0]);
            let (_, output) = process::run(command.args(&self.0[1..])).await?;
            told(&String::from_utf8(output.stdout)?)
        })
    }
}

struct InGuest {
    pyro: Pyro,
    isolation: &'static str,
    task: Task,
}

impl InGuest {
    async fn work(&self) -> Result<Duration> {
        let result: Value = self
            .pyro
            .json(&[
                "run",
                ENVIRONMENT,
                "--isolation",
                self.isolation,
                "--timeout-seconds",
                "55",
                "--json",
                "--",
                "python3",
                "-c",
                PROGRAM,
                self.task.name(),
            ])
            .await?;
        told(result["stdout"].as_str().context("no output")?)
    }
}

impl Work for InGuest {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.work())
    }
}

/// The last line is a number of milliseconds.
fn told(output: &str) -> Result<Duration> {
    let last = output.lines().last().context("the work said nothing")?;
    let ms: f64 = last
        .parse()
        .with_context(|| format!("no number: {output}"))?;
    Ok(Duration::from_secs_f64(ms / 1000.0))
}
