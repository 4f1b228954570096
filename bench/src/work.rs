//! Work that takes a while: the same natively, in a sandbox and in a VM. `work.py` does it and tells
//! what it took; starts are not counted.

use std::fmt;
use std::fs::File;
use std::process::{Output, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use pyro_api::values::Isolation;
use serde_json::Value;
use tokio::process::Command;

use super::bubblewrap::{self, Bubblewrap};
use super::contender::{Contender, Goal, League, Turn, Work};
use super::guest::{KINDS, noun};
use super::gvisor::Gvisor;
use super::process;
use super::pyro::Pyro;
use super::seed::Folder;

/// Has a compiler.
pub(crate) const ENVIRONMENT: &str = "debian:12-build";

/// Rounds of VMs under emulation.
const SLOW_ROUNDS: usize = 3;

/// Under emulation a test suite takes a minute.
const HUNG: Duration = Duration::from_secs(300);

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

    /// Whether it needs the archive of [`super::suite`].
    fn is_fed(self) -> bool {
        self == Self::Tests
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
            Self::Tests => "pytest of click",
            Self::Compile => "a C project, compiled by `gcc -O2`",
            Self::Files => "`git add`, `commit` and `status` of 1,000 files",
        })
    }
}

/// What the rows need beside the guests.
pub(crate) struct Material {
    /// The files of [`ENVIRONMENT`].
    pub(crate) rootfs: Folder,
    /// The archive of [`super::suite`].
    pub(crate) suite: Folder,
}

pub(crate) fn contenders(
    pyro: &Pyro,
    gvisor: &Gvisor,
    bubblewrap: &Bubblewrap,
    emulated: bool,
    material: &Material,
) -> Vec<Contender> {
    let mut contenders = Vec::new();
    for task in Task::ALL {
        let suite = || task.is_fed().then(|| Rc::clone(&material.suite));
        let in_guest = |isolation| InGuest {
            pyro: pyro.clone(),
            isolation,
            task,
            suite: suite(),
        };
        let native = format!("natively: {task}");
        let native = match bubblewrap.why_not() {
            None => {
                let rootfs = Rc::clone(&material.rootfs);
                let suite = suite();
                Contender::new(
                    native,
                    Native {
                        rootfs,
                        task,
                        suite,
                    },
                )
            }
            Some(why) => Contender::missing(native, why),
        };
        let league = League::Work(task);
        contenders.push(native.league(league).yardstick());
        for isolation in KINDS.into_iter().rev() {
            let label = format!("in a {}: {task}", noun(isolation));
            let row = gvisor.row_of(isolation, label, || in_guest(isolation));
            let row = row.league(league);
            contenders.push(match isolation {
                Isolation::Gvisor => row.goal(task.goal()),
                _ if emulated => row.at_most(SLOW_ROUNDS),
                _ => row,
            });
        }
    }
    contenders
}

/// What does the work tells what it took.
async fn play(command: &mut Command, suite: Option<&Folder>) -> Result<Output> {
    let input = match suite {
        Some(suite) => File::open(suite.get().await?)?.into(),
        None => Stdio::null(),
    };
    Ok(process::run_fed(command, HUNG, input).await?.1)
}

struct Native {
    rootfs: Folder,
    task: Task,
    suite: Option<Folder>,
}

impl Work for Native {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let rootfs = self.rootfs.get().await?.to_string_lossy();
            let [bwrap, words @ ..] = bubblewrap::words(&rootfs);
            let mut command = Command::new(bwrap);
            // In the memory of its own `/tmp`, so that nothing of it is left.
            command.args(words).args(["env", "WORK=/tmp"]);
            command.args(["python3", "-c", PROGRAM, self.task.name()]);
            let output = play(&mut command, self.suite.as_ref()).await?;
            told(&String::from_utf8(output.stdout)?)
        })
    }
}

struct InGuest {
    pyro: Pyro,
    isolation: Isolation,
    task: Task,
    suite: Option<Folder>,
}

impl Work for InGuest {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let mut command = self.pyro.command();
            command
                .args([
                    "run",
                    ENVIRONMENT,
                    "--isolation",
                    &self.isolation.to_string(),
                ])
                .args(["--timeout-seconds", &HUNG.as_secs().to_string(), "--json"])
                .args(["--", "python3", "-c", PROGRAM, self.task.name()]);
            let output = play(&mut command, self.suite.as_ref()).await?;
            let result: Value = serde_json::from_slice(&output.stdout)?;
            told(result["stdout"].as_str().context("no output")?)
        })
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
