//! One table from one run: pyro next to Docker, Bubblewrap and plain QEMU on this machine.
//!
//! In each round every contender has its turn, each round beginning with another one, so that
//! what disturbs the machine disturbs all of them. Times are wall clock (monotonic) from the start
//! of a process to its end, or from a call of the engine to its answer. One round before the first
//! is not counted; of the others nothing is left out. What is measured and why: docs/benchmarks.md.
//!
//! Nothing stays behind: VMs, containers and folders go with the run, also when it is interrupted.

mod bubblewrap;
mod contender;
mod docker;
mod document;
mod egress;
mod guest;
mod gvisor;
mod machine;
mod mcp;
mod memory;
mod plain_qemu;
mod port;
mod process;
mod pyro;
mod review;
mod rootfs;
mod scratch;
mod seed;
mod seeded;
mod shell;
mod shim;
mod snapshots;
mod standby;
mod statistics;
mod table;
mod work;
mod workspace;

use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use pyro_api::values::{Isolation, MemMib};
use pyro_engine::{Config, Engine};
use tokio::signal::unix::{SignalKind, signal};

use bubblewrap::Bubblewrap;
use contender::{Contender, Part, WARM_UP_ROUNDS};
use docker::Docker;
use egress::Egress;
use gvisor::Gvisor;
use pyro::{ENVIRONMENT, Pyro};
use scratch::Scratch;
use snapshots::Snapshots;
use table::Row;
use workspace::Workspace;

const ROUNDS: usize = 10;

/// `pyro-bench [ROUNDS] [--write]`
fn main() -> Result<()> {
    // The engine is measured inside of this process.
    ensure!(
        !cfg!(debug_assertions),
        "a debug build measures nothing that users get: make bench"
    );
    let (mut rounds, mut write) = (ROUNDS, false);
    for arg in std::env::args().skip(1) {
        if arg == "--write" {
            write = true;
        } else {
            rounds = arg
                .parse()
                .with_context(|| format!("ROUNDS must be a whole number, not `{arg}`"))?;
        }
    }
    ensure!(rounds > 0, "ROUNDS must be at least 1");

    // Dropped last: by then nothing of the runtime uses it any more.
    let scratch = Scratch::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = measure(rounds, &scratch) => report,
            name = interrupted() => bail!("{} ended the benchmark", name?),
        }
    });
    drop(runtime);
    let report = report?;
    print!("{report}");
    if write {
        document::write(&report)?;
    }
    Ok(())
}

async fn interrupted() -> Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => Ok("Ctrl-C"),
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = hang_up.recv() => Ok("SIGHUP"),
    }
}

async fn measure(rounds: usize, scratch: &Scratch) -> Result<String> {
    let mut config = Config::from_environment()?;
    config.state_dir = scratch.state_dir();
    // Thirty idle VMs take far less than what they were promised.
    config.memory_share = 1.0;
    let pyro = Pyro::new(&config)?;

    eprintln!("bench: preparing the contenders");
    let environment = pyro.json(&["env", "pull", ENVIRONMENT, "--json"]).await?;
    let path = |name: &str| environment[name].as_str().with_context(|| name.to_owned());
    let rootfs = scratch.rootfs();
    rootfs::extract(path("rootfs_image")?, &rootfs).await?;
    let build = pyro
        .json(&["env", "pull", work::ENVIRONMENT, "--json"])
        .await?;
    let build = build["rootfs_image"].as_str().context("rootfs_image")?;
    let build_rootfs = scratch.build_rootfs();
    rootfs::extract(build, &build_rootfs).await?;
    let vm = pyro.look_inside().await?;
    let gvisor = Gvisor::prepare(&pyro).await;
    let mem_mib = MemMib::default();

    let bubblewrap = Bubblewrap::look().await;
    let docker = Docker::prepare(&rootfs).await?;
    let mut facts = machine::describe(&vm).await?;
    facts.push(pyro.describe(&vm).await?);
    facts.push(match &docker {
        Ok(docker) => format!("Docker: {}", docker.describe()),
        Err(_) => "Docker: none".to_owned(),
    });
    facts.push(gvisor.describe());
    facts.push(format!("Bubblewrap: {}", bubblewrap.describe()));

    let engine = Arc::new(Engine::new(config.clone()));
    let (project, repository) = (scratch.project(), scratch.repository());
    seed::PROJECT.write(&project)?;
    review::write_repository(&repository).await?;
    let started = Instant::now();
    let reviewed = Rc::new(Workspace::create(&engine, Some(&repository)).await?);
    review::prepare(&reviewed).await?;
    eprintln!(
        "bench: a workspace of {} files was ready after {:.0} s",
        seed::REPOSITORY.files,
        started.elapsed().as_secs_f64()
    );
    let reset = Rc::new(Workspace::create(&engine, Some(&project)).await?);
    let used = Rc::new(Workspace::create(&engine, None).await?);
    let snapshots = Snapshots::prepare(&engine).await?;
    let networked = Rc::new(Egress::prepare(&engine).await?);
    let published = Rc::new(port::serve(&engine).await?);

    let mut contenders = pyro.contenders();
    contenders.extend(standby::contenders(&config, Isolation::Vm)?);
    contenders.extend(gvisor.contenders(&pyro, &config)?);
    contenders.extend(work::contenders(&pyro, &gvisor, &bubblewrap, &build_rootfs));
    contenders.extend(workspace::commands(&pyro, &used));
    contenders.extend(mcp::contenders(&pyro, &used).await?);
    contenders.push(shell::contender(&used).await?);
    contenders.extend(seeded::contenders(&pyro, docker.as_ref(), &project));
    contenders.push(workspace::reset(&reset));
    contenders.extend(snapshots.contenders());
    contenders.extend(review::contenders(&reviewed));
    contenders.push(plain_qemu::contender(
        path("kernel_image")?,
        &vm.accelerator,
        mem_mib.get(),
    ));
    contenders.extend(docker::contenders(docker.as_ref()));
    contenders.extend(egress::contenders(&networked, docker.as_ref()).await?);
    contenders.extend(bubblewrap.contenders(&rootfs));
    contenders.extend(port::contenders(&published, docker.as_ref()).await?);

    let load = machine::load()?;
    let rows = take_turns(contenders, rounds).await?;
    facts.push(format!(
        "load (1, 5, 15 minutes) before the rounds: {load}; after them: {}",
        machine::load()?
    ));
    let times = table::times(&rows);
    drop(rows);
    for workspace in [&*reviewed, &*reset, &*used, &published.0] {
        workspace.delete().await?;
    }
    snapshots.delete().await?;
    networked.delete().await?;
    drop(docker);
    let crowds = memory::measure(&engine, Isolation::Vm).await?;
    let mut memory = table::memory("VMs", &crowds, 60.0);
    if gvisor.why_not().is_none() {
        let crowds = memory::measure(&engine, Isolation::Gvisor).await?;
        memory += "\n";
        memory += &table::memory("sandboxes", &crowds, 16.0);
    }
    report(&facts, rounds, mem_mib, &times, &memory)
}

async fn take_turns(contenders: Vec<Contender>, rounds: usize) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = contenders
        .into_iter()
        .map(|contender| Row {
            contender,
            times: Vec::with_capacity(rounds),
        })
        .collect();
    let count = rows.len();
    for round in 0..WARM_UP_ROUNDS + rounds {
        let counted = round >= WARM_UP_ROUNDS;
        if counted {
            eprintln!("bench: round {} of {rounds}", round + 1 - WARM_UP_ROUNDS);
        } else {
            eprintln!("bench: a round that is not counted");
        }
        for place in 0..count {
            let row = &mut rows[(round + place) % count];
            let turns = row.contender.turns();
            let Part::Plays(work) = &mut row.contender.part else {
                continue;
            };
            for _ in 0..turns {
                let took = work
                    .turn()
                    .await
                    .with_context(|| row.contender.label.clone())?;
                if counted {
                    row.times.push(took);
                }
            }
        }
    }
    Ok(rows)
}

fn report(
    facts: &[String],
    rounds: usize,
    mem_mib: MemMib,
    times: &str,
    memory: &str,
) -> Result<String> {
    let mut text = String::from("**Machine**\n\n");
    for fact in facts {
        writeln!(text, "- {fact}")?;
    }
    writeln!(
        text,
        "\n**Times.** {rounds} rounds; VMs have one processor and {} MiB.\n\n{times}",
        mem_mib.get()
    )?;
    write!(
        text,
        "**Memory.** Of {} MiB, VMs from one template; all processes of one together; medians of {}.\n\n\
         {memory}",
        memory::MEM_MIB,
        memory::REPETITIONS
    )?;
    Ok(text)
}
