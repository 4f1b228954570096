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
use super::guest::Guest;
use super::pyro::{ENVIRONMENT, Pyro};
use super::{process, standby, work};

/// A large image is unpacked file by file.
const PREPARING: Duration = Duration::from_secs(600);

pub(crate) struct Gvisor {
    /// What runs here, or why nothing does.
    version: Result<String, String>,
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
                };
            }
        }
        Self {
            version: version(pyro).await.map_err(|error| error.to_string()),
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

    pub(crate) fn contenders(&self, pyro: &Pyro, config: &Config) -> Result<Vec<Contender>> {
        let mut contenders = Vec::new();
        for errand in Errand::ALL {
            let label = format!("`pyro run --isolation gvisor {ENVIRONMENT} -- {errand}`");
            let row = self.row(label, || RunInSandbox {
                pyro: pyro.clone(),
                errand,
            });
            let row = row.league(League::Fresh(errand));
            contenders.push(row.goal((errand == Errand::True).then_some(Goal::Ratio(0.6))));
        }
        match self.why_not() {
            None => contenders.extend(standby::contenders(config, Isolation::Gvisor)?),
            Some(why) => contenders.push(Contender::missing(
                "engine in process: run in a sandbox from standby",
                why,
            )),
        }
        let engine = Arc::new(Engine::new(config.clone()));
        for (isolation, what) in [(Isolation::Vm, "VM"), (Isolation::Gvisor, "sandbox")] {
            let label =
                format!("engine in process: `vm_exec` of `true` in a started {what}, and its end");
            let work = ExecAndEnd {
                engine: Arc::clone(&engine),
                isolation,
            };
            contenders.push(match isolation {
                Isolation::Gvisor => self.row(label, || work),
                _ => Contender::new(label, work),
            });
        }
        Ok(contenders)
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

fn run(errand: Errand) -> Vec<&'static str> {
    let run = ["run", ENVIRONMENT, "--isolation", "gvisor", "--json", "--"];
    [&run, errand.words()].concat()
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
    errand: Errand,
}

impl RunInSandbox {
    async fn run(&self) -> Result<Duration> {
        let mut command = self.pyro.command();
        let (took, output) = process::run(command.args(run(self.errand))).await?;
        let result: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(result["execution_mode"] == "gvisor", "{result}");
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
