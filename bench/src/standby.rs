//! Commands in VMs that waited: resumed beforehand, kept by a long-lived owner (an engine in
//! process), taken and replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pyro_api::operations::vm_run::VmRun;
use pyro_api::values::Isolation;
use pyro_api::{Caller, Handle};
use pyro_engine::{Config, Engine, Standby};
use tokio::time::{sleep, timeout};

use super::contender::{Contender, Errand, Goal, League, Turn, Work};
use super::process::HUNG;
use super::pyro::ENVIRONMENT;

/// How often it is looked whether a VM waits.
const LOOK: Duration = Duration::from_millis(5);

/// To be called in a tokio runtime, which makes the VMs wait.
pub(crate) fn contenders(config: &Config, isolation: Isolation) -> Result<Vec<Contender>> {
    // An engine of its own: the others' commands are to find no VM that waits. One VM serves all
    // turns, as they come one after the other.
    let engine = Arc::new(Engine::new(config.clone()));
    engine.keep_standby(Standby {
        isolation: Some(isolation),
        ..Standby::usual(ENVIRONMENT, 1)
    })?;
    let what = match isolation {
        Isolation::Gvisor => "sandbox",
        Isolation::Auto | Isolation::Vm => "VM",
    };
    Ok(Errand::ALL
        .into_iter()
        .map(|errand| {
            let engine = Arc::clone(&engine);
            Contender::new(
                format!("engine in process: run `{errand}` in a {what} from standby"),
                RunInStandby {
                    engine,
                    isolation,
                    errand,
                },
            )
            .league(League::Fresh(errand))
            .goal((errand == Errand::True).then_some(Goal::Ratio(0.2)))
        })
        .collect())
}

struct RunInStandby {
    engine: Arc<Engine>,
    isolation: Isolation,
    errand: Errand,
}

impl RunInStandby {
    async fn run(&self) -> Result<Duration> {
        self.until_one_waits().await?;
        let mut run = VmRun::new(ENVIRONMENT, self.errand.as_typed());
        run.isolation = Some(self.isolation);
        let started = Instant::now();
        let result = timeout(HUNG, self.engine.handle(run, &Caller::new()))
            .await
            .context("a command in a VM that waited hung")??;
        let took = started.elapsed();
        ensure!(result.exit_code == 0, "the command failed: {result:?}");
        // A start would be timed as what it is not.
        ensure!(result.standby, "no VM had waited for it");
        // What takes its place is not made while something else is measured. Paused, it takes no
        // processor afterwards.
        self.until_one_waits().await?;
        Ok(took)
    }

    async fn until_one_waits(&self) -> Result<()> {
        timeout(HUNG, async {
            while self.engine.standby_count() == 0 {
                sleep(LOOK).await;
            }
        })
        .await
        .context("no VM could be kept waiting")
    }
}

impl Work for RunInStandby {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.run())
    }
}
