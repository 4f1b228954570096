//! Measures as a long-lived program would find it: through engines of its own, on the records and
//! the cache of this one, by their operations.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pyro_api::operations::bench::{Bench, Measured, Row};
use pyro_api::operations::vm_create::VmCreate;
use pyro_api::operations::vm_exec::VmExec;
use pyro_api::operations::vm_run::VmRun;
use pyro_api::operations::vm_start::VmStart;
use pyro_api::values::{ExecResult, MemMib, TimeoutSeconds, TtlSeconds, VcpuCount};
use pyro_api::{Caller, Error, ErrorCode, Event, Handle, Operation};
use tokio::time::sleep;

use crate::config::{Config, Templates};
use crate::error::cancelled;
use crate::{Engine, Standby};

/// How long VMs may take to be waiting: the first may have a template to build.
const STANDBY: Duration = Duration::from_secs(180);

#[async_trait]
impl Handle<Bench> for Engine {
    async fn handle(&self, bench: Bench, caller: &Caller) -> Result<Measured, Error> {
        bench.check()?;
        let rounds = bench.rounds.get();
        let resuming = Arc::new(Engine::new(self.config().clone()));
        let waiting = Arc::new(Engine::new(self.config().clone()));
        let booting = Engine::new(Config {
            templates: Templates::Off,
            ..self.config().clone()
        });

        let (mut fresh, mut standby) = (Vec::new(), Vec::new());
        let (mut running, mut cold) = (Vec::new(), Vec::new());
        // Pulls the environment and builds the template where they are missing.
        let first = run(&resuming, &bench, caller).await?;
        // From here on a person waits for a table, and not for what hundreds of commands say.
        let listener = caller;
        let caller = &Caller::new();
        for round in 1..=rounds {
            listener
                .emit(Event::Progress {
                    message: format!("round {round} of {rounds}"),
                    fraction: Some((round - 1) as f32 / rounds as f32),
                })
                .map_err(|_| cancelled())?;
            fresh.push(timed(run(&resuming, &bench, caller)).await?.0);
            running.push(in_running(&resuming, &bench, caller).await?);
            wait_for_standbys(&waiting, &bench).await?;
            let (time, result) = timed(run(&waiting, &bench, caller)).await?;
            if !result.standby {
                return Err(Error::new(
                    ErrorCode::Internal,
                    "A command did not get the standby VM that was ready for it",
                ));
            }
            standby.push(time);
            // What takes its place is not made while something else is measured.
            wait_for_standbys(&waiting, &bench).await?;
            cold.push(timed(run(&booting, &bench, caller)).await?.0);
        }
        Ok(Measured {
            environment: bench.environment.clone(),
            command: bench.line().to_string(),
            rounds,
            accelerator: first.accelerator,
            rows: vec![
                Row::of("run in a fresh VM", fresh),
                Row::of("run in a standby VM", standby),
                Row::of("first command in a started VM, and its deletion", running),
                Row::of("run in a VM that boots", cold),
            ],
        })
    }
}

/// Milliseconds, and the result.
async fn timed<T>(work: impl Future<Output = Result<T, Error>>) -> Result<(f64, T), Error> {
    let begun = Instant::now();
    let result = work.await?;
    Ok((begun.elapsed().as_secs_f64() * 1000.0, result))
}

async fn run(engine: &Engine, bench: &Bench, caller: &Caller) -> Result<ExecResult, Error> {
    let run = VmRun::new(&bench.environment, bench.line());
    engine.handle(run, caller).await
}

/// Only the command is measured, not the start before it.
async fn in_running(engine: &Engine, bench: &Bench, caller: &Caller) -> Result<f64, Error> {
    let create = VmCreate {
        environment: bench.environment.clone(),
        vcpu_count: VcpuCount::default(),
        mem_mib: MemMib::default(),
        ttl_seconds: TtlSeconds::default(),
        network: false,
        allow_host_compat: false,
        allow_net: Vec::new(),
        isolation: None,
    };
    let vm_id = engine.handle(create, caller).await?.vm_id;
    let start = VmStart {
        vm_id: vm_id.clone(),
    };
    engine.handle(start, caller).await?;
    let exec = VmExec {
        vm_id,
        command: bench.line(),
        env: Default::default(),
        user: None,
        cwd: None,
        timeout_seconds: TimeoutSeconds::default(),
    };
    Ok(timed(engine.handle(exec, caller)).await?.0)
}

async fn wait_for_standbys(engine: &Arc<Engine>, bench: &Bench) -> Result<(), Error> {
    let count = usize::try_from(bench.standby.get()).unwrap_or(usize::MAX);
    engine.keep_standby(Standby::usual(&bench.environment, count))?;
    let until = Instant::now() + STANDBY;
    while engine.standby_count() < count {
        if Instant::now() > until {
            return Err(Error::new(
                ErrorCode::BootTimeout,
                format!("{count} standby VMs could not be kept ready"),
            )
            .hint("Check with `pyro run` that VMs start here, or keep fewer with `--standby`"));
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
