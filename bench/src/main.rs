//! One table from one run: pyro next to Docker, Bubblewrap and plain QEMU on this machine.
//!
//! In each round every contender has its turn, each round beginning with another one, so that
//! what disturbs the machine disturbs all of them. Times are wall clock (monotonic) from the start
//! of a process to its end, or from a call of the engine to its answer. One round before the first
//! is not counted; of the others nothing is left out. What is measured and why: docs/benchmarks.md.
//!
//! Nothing stays behind: VMs, containers and folders go with the run, also when it is interrupted.

mod bubblewrap;
mod choice;
mod contender;
mod copies;
mod docker;
mod document;
mod egress;
mod guest;
mod gvisor;
mod lazy;
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
mod suite;
mod table;
mod work;
mod workspace;

use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use pyro_api::values::{Isolation, MemMib};
use pyro_engine::{Config, Engine};
use tokio::signal::unix::{SignalKind, signal};

use bubblewrap::Bubblewrap;
use choice::Choice;
use contender::{Contender, NotHere, Part, WARM_UP_ROUNDS};
use copies::{Copies, Load};
use docker::Docker;
use egress::Egress;
use guest::KINDS;
use gvisor::Gvisor;
use pyro::{ENVIRONMENT, Pyro};
use scratch::Scratch;
use table::Row;

fn main() -> Result<()> {
    // The engine is measured inside of this process.
    ensure!(
        !cfg!(debug_assertions),
        "a debug build measures nothing that users get: make bench"
    );
    let choice = Choice::read(std::env::args().skip(1))?;

    // Dropped last: by then nothing of the runtime uses it any more.
    let scratch = Scratch::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = measure(&choice, &scratch) => report,
            name = interrupted() => bail!("{} ended the benchmark", name?),
        }
    });
    drop(runtime);
    let report = report?;
    print!("{report}");
    if choice.write {
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

async fn measure(choice: &Choice, scratch: &Scratch) -> Result<String> {
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
    let vm = pyro.look_inside().await?;
    let emulated = vm.is_emulated();
    let gvisor = Gvisor::prepare(&pyro).await;
    let mem_mib = MemMib::default();
    let reflinks = machine::has_reflinks(scratch.path()).await?;

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
    facts.push(format!(
        "state and seeds: {}, {} reflinks",
        machine::file_system(scratch.path()).await?,
        if reflinks { "with" } else { "without" }
    ));

    let engine = Arc::new(Engine::new(config.clone()));
    let project = seed::project(scratch.project());
    let repository = review::repository(scratch.repository());
    let material = work::Material {
        rootfs: rootfs::extracted(build, scratch.build_rootfs()),
        suite: suite::archive(scratch.suite()),
    };
    let copies = Copies {
        pyro: &pyro,
        gvisor: &gvisor,
        engine: &engine,
        emulated,
        target: scratch.copy(),
    };
    let [in_vm, in_sandbox] = KINDS.map(|isolation| workspace::empty(&engine, isolation));

    let mut contenders = pyro.contenders();
    contenders.extend(standby::contenders(&config, Isolation::Vm));
    contenders.extend(gvisor.contenders(&pyro, &config, emulated));
    contenders.extend(work::contenders(
        &pyro,
        &gvisor,
        &bubblewrap,
        emulated,
        &material,
    ));
    for (isolation, workspace) in [(Isolation::Vm, &in_vm), (Isolation::Gvisor, &in_sandbox)] {
        contenders.extend(workspace::commands(&pyro, &gvisor, isolation, workspace));
    }
    contenders.extend(mcp::contenders(&pyro, &in_vm));
    contenders.push(shell::contender(&in_vm));
    contenders.extend(seeded::contenders(
        &pyro,
        &gvisor,
        docker.as_ref(),
        &project,
    ));
    contenders.extend(copies.contenders(Load::Many, &repository));
    contenders.extend(copies.contenders(Load::Large, &copies::large(scratch.large())));
    for isolation in KINDS {
        let workspace = workspace::seeded(&engine, isolation, &project);
        contenders.push(workspace::reset(&gvisor, isolation, workspace));
    }
    contenders.extend(snapshots::contenders(&gvisor, &engine, reflinks));
    for isolation in KINDS {
        let workspace = review::workspace(&engine, isolation, &repository);
        contenders.extend(review::contenders(&gvisor, isolation, &workspace));
    }
    contenders.push(plain_qemu::contender(
        path("kernel_image")?,
        &vm.accelerator,
        mem_mib.get(),
    ));
    contenders.extend(docker::contenders(docker.as_ref()));
    contenders.extend(egress::contenders(&Egress::of(&engine), docker.as_ref()).await?);
    contenders.extend(bubblewrap.contenders(&rootfs));
    contenders.extend(port::contenders(&port::published(&engine), docker.as_ref()).await?);

    let load = machine::load()?;
    let rows = take_turns(choice.of(contenders), choice.rounds).await?;
    facts.push(format!(
        "load (1, 5, 15 minutes) before the rounds: {load}; after them: {}",
        machine::load()?
    ));
    let times = table::times(&rows);
    drop(rows);
    workspace::delete_all(&engine).await?;
    drop(docker);
    let memory = memory::tables(&engine, &gvisor, choice).await?;
    report(&facts, choice.rounds, mem_mib, &times, &memory)
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
            let has_turn = match round.checked_sub(WARM_UP_ROUNDS) {
                Some(round) => row.contender.plays_in(round, rounds),
                None => row.contender.at_most.is_none(),
            };
            if !has_turn {
                continue;
            }
            let turns = row.contender.turns();
            let Part::Plays(work) = &mut row.contender.part else {
                continue;
            };
            for _ in 0..turns {
                match work.turn().await {
                    Ok(took) if counted => row.times.push(took),
                    Ok(_) => {}
                    Err(error) => {
                        let missing = error.downcast_ref::<NotHere>();
                        let why = missing.map(ToString::to_string);
                        let Some(why) = why.filter(|_| row.times.is_empty()) else {
                            return Err(error.context(row.contender.label.clone()));
                        };
                        row.contender.part = Part::Misses(why);
                        break;
                    }
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
        "\n**Times.** {rounds} rounds; guests have one processor and {} MiB.\n\n{times}",
        mem_mib.get()
    )?;
    if memory.is_empty() {
        return Ok(text);
    }
    write!(
        text,
        "**Memory.** Of {} MiB, VMs from one template; all processes of one together; medians of {}.\n\n\
         {memory}",
        memory::MEM_MIB,
        memory::REPETITIONS
    )?;
    Ok(text)
}
