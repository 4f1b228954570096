//! Sandboxes of gVisor's: the rows that VMs have, as far as these have them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use pyro_api::operations::vm_exec::VmExec;
use pyro_api::values::{EnvVars, Isolation, MemMib, TimeoutSeconds};
use pyro_api::{Caller, Handle};
use pyro_engine::{Config, Engine};
use serde_json::Value;

use super::contender::{Contender, Errand, Goal, League, Turn, Work};
use super::guest::{Guest, KINDS, noun};
use super::pyro::{self, ENVIRONMENT, Pyro};
use super::{process, standby, work};

/// A large image is unpacked file by file.
const PREPARING: Duration = Duration::from_secs(600);

pub(crate) struct Gvisor {
    /// What runs here, or why nothing does.
    version: Result<String, String>,
    /// Whether a run that does not say what it wants gets a sandbox here.
    usual: bool,
}

impl Gvisor {
    /// Starts sandboxes, which fetch and unpack what is not here yet.
    pub(crate) async fn prepare(pyro: &Pyro) -> Self {
        for environment in [ENVIRONMENT, work::ENVIRONMENT] {
            let mut command = pyro.command();
            command.args(["run", environment, "--isolation", "gvisor", "--", "true"]);
            if let Err(error) = process::run_within(&mut command, PREPARING).await {
                return Self {
                    version: Err(why(&error)),
                    usual: false,
                };
            }
        }
        let usual = pyro.json(&run(&[], Errand::True)).await;
        Self {
            version: version(pyro).await.map_err(|error| error.to_string()),
            usual: usual.is_ok_and(|result| is_sandbox(&result)),
        }
    }

    /// Why there are no sandboxes here, where there are none.
    pub(crate) fn why_not(&self) -> Option<&str> {
        self.version.as_ref().err().map(String::as_str)
    }

    pub(crate) fn describe(&self) -> String {
        match &self.version {
            Ok(version) => format!("gVisor: runsc {version}"),
            Err(why) => format!("gVisor: none ({why})"),
        }
    }

    /// `emulated`: whether VMs are.
    pub(crate) fn contenders(
        &self,
        pyro: &Pyro,
        config: &Config,
        emulated: bool,
    ) -> Vec<Contender> {
        let run_in_sandbox = |options, errand| RunInSandbox {
            pyro: pyro.clone(),
            options,
            errand,
        };
        let mut contenders = Vec::new();
        if self.usual {
            let label = pyro::run_label("", Errand::True) + ", by `auto` in a sandbox";
            let row = Contender::new(label, run_in_sandbox(&[], Errand::True));
            let row = row.league(League::Fresh(Errand::True));
            contenders.push(row.goal(fresh_goals(emulated)));
        }
        for errand in Errand::ALL {
            let row = self.row(pyro::run_label("--isolation gvisor ", errand), || {
                run_in_sandbox(&["--isolation", "gvisor"], errand)
            });
            let row = row.league(League::Fresh(errand));
            contenders.push(match errand {
                Errand::True => row.goal(fresh_goals(emulated)),
                Errand::Git | Errand::Python => row,
            });
        }
        match self.why_not() {
            None => contenders.extend(standby::contenders(config, Isolation::Gvisor)),
            Some(why) => contenders.push(Contender::missing(
                "engine in process: run in a sandbox from standby",
                why,
            )),
        }
        let engine = Arc::new(Engine::new(config.clone()));
        for isolation in KINDS {
            let label = format!(
                "engine in process: `vm_exec` of `true` in a started {}, and its end",
                noun(isolation)
            );
            contenders.push(self.row_of(isolation, label, || ExecAndEnd {
                engine: Arc::clone(&engine),
                isolation,
            }));
        }
        contenders
    }

    /// One row, of a guest of this kind.
    pub(crate) fn row_of<W: Work + 'static>(
        &self,
        isolation: Isolation,
        label: impl Into<String>,
        work: impl FnOnce() -> W,
    ) -> Contender {
        match isolation {
            Isolation::Gvisor => self.row(label, work),
            Isolation::Auto | Isolation::Vm => Contender::new(label, work()),
        }
    }

    /// One row, where sandboxes run.
    pub(crate) fn row<W: Work + 'static>(
        &self,
        label: impl Into<String>,
        work: impl FnOnce() -> W,
    ) -> Contender {
        match self.why_not() {
            None => Contender::new(label, work()),
            Some(why) => Contender::missing(label, why),
        }
    }
}

/// Of a sandbox that is started for `true`.
fn fresh_goals(emulated: bool) -> Vec<Goal> {
    let mut goals = vec![Goal::Ratio(0.6)];
    if emulated {
        let emulated = pyro::run_label("--isolation vm ", Errand::True);
        goals.push(Goal::Beside(0.35, emulated));
    }
    goals
}

fn run(options: &[&'static str], errand: Errand) -> Vec<&'static str> {
    [
        &["run", ENVIRONMENT],
        options,
        &["--json", "--"],
        errand.words(),
    ]
    .concat()
}

fn is_sandbox(result: &Value) -> bool {
    result["execution_mode"] == "gvisor"
}

async fn version(pyro: &Pyro) -> Result<String> {
    let diagnosis = pyro.json(&["doctor", "--json"]).await?;
    let told = |name: &str| {
        diagnosis["gvisor"][name]
            .as_str()
            .unwrap_or("unknown")
            .to_owned()
    };
    Ok(format!("{} ({})", told("version"), told("origin")))
}

/// The first thing that `pyro` said; a cell of a table has one line.
fn why(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let said = text.lines().find_map(|line| line.strip_prefix("[error] "));
    let said = said.or(text.lines().next()).unwrap_or_default();
    said.replace('|', "/")
}

struct RunInSandbox {
    pyro: Pyro,
    options: &'static [&'static str],
    errand: Errand,
}

impl RunInSandbox {
    async fn run(&self) -> Result<Duration> {
        let mut command = self.pyro.command();
        let (took, output) = process::run(command.args(run(self.options, self.errand))).await?;
        let result: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(is_sandbox(&result), "{result}");
        Ok(took)
    }
}

impl Work for RunInSandbox {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.run())
    }
}

/// A command in a VM that was started for it, untimed.
struct ExecAndEnd {
    engine: Arc<Engine>,
    isolation: Isolation,
}

impl ExecAndEnd {
    async fn exec(&self) -> Result<Duration> {
        let guest = Guest::start(&self.engine, self.isolation, MemMib::default()).await?;
        let exec = VmExec {
            vm_id: guest.record.vm_id.clone(),
            command: Errand::True.as_typed(),
            env: EnvVars::default(),
            user: None,
            cwd: None,
            timeout_seconds: TimeoutSeconds::default(),
        };
        let started = Instant::now();
        let result = self.engine.handle(exec, &Caller::new()).await?;
        let took = started.elapsed();
        ensure!(result.exit_code == 0, "the command failed: {result:?}");
        Ok(took)
    }
}

impl Work for ExecAndEnd {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.exec())
    }
}
