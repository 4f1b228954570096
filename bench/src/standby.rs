//! Commands in VMs that waited: resumed beforehand, kept by a long-lived owner (an engine in
//! process), taken and replaced.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pyro_api::operations::vm_run::VmRun;
use pyro_api::values::Isolation;
use pyro_api::{Caller, Handle};
use pyro_engine::{Config, Engine, Standby};
use tokio::time::{sleep, timeout};

use super::contender::{Contender, Errand, Goal, League, Turn, Work};
use super::guest::noun;
use super::lazy::Lazy;
use super::process::HUNG;
use super::pyro::ENVIRONMENT;

/// How often it is looked whether a VM waits.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) fn contenders(config: &Config, isolation: Isolation) -> Vec<Contender> {
    // An engine of its own: the others' commands are to find no VM that waits. One VM serves all
    // turns, as they come one after the other.
    let config = config.clone();
    let engine = Lazy::new(move || {
        let engine = Arc::new(Engine::new(config.clone()));
        async move {
            engine.keep_standby(Standby {
                isolation: Some(isolation),
                ..Standby::usual(ENVIRONMENT, 1)
            })?;
            Ok(engine)
        }
    });
    Errand::ALL
        .into_iter()
        .map(|errand| {
            Contender::new(
                format!(
                    "engine in process: run `{errand}` in a {} from standby",
                    noun(isolation)
                ),
                RunInStandby {
                    engine: Rc::clone(&engine),
                    isolation,
                    errand,
                },
            )
            .league(League::Fresh(errand))
            .goal((errand == Errand::True).then_some(Goal::Ratio(0.2)))
        })
        .collect()
}

struct RunInStandby {
    engine: Rc<Lazy<Arc<Engine>>>,
    isolation: Isolation,
    errand: Errand,
}

impl RunInStandby {
    async fn run(&self) -> Result<Duration> {
        let engine = self.engine.get().await?;
        until_one_waits(engine).await?;
        let mut run = VmRun::new(ENVIRONMENT, self.errand.as_typed());
        run.isolation = Some(self.isolation);
        let started = Instant::now();
        let result = timeout(HUNG, engine.handle(run, &Caller::new()))
            .await
            .context("a command in a VM that waited hung")??;
        let took = started.elapsed();
        ensure!(result.exit_code == 0, "the command failed: {result:?}");
        // A start would be timed as what it is not.
        ensure!(result.standby, "no VM had waited for it");
        // What takes its place is not made while something else is measured. Paused, it takes no
        // processor afterwards.
        until_one_waits(engine).await?;
        Ok(took)
    }
}

async fn until_one_waits(engine: &Engine) -> Result<()> {
    timeout(HUNG, async {
        while engine.standby_count() == 0 {
            sleep(LOOK).await;
        }
    })
    .await
    .context("no VM could be kept waiting")
}

impl Work for RunInStandby {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.run())
    }
}
