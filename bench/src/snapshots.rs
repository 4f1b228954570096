//! Snapshots: how long one takes, and the way back, with a gigabyte of changes; how long it takes to keep that as an
//! environment; and what a workspace costs that stands on forty of them.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pyro_api::operations::env_create::EnvCreate;
use pyro_api::operations::env_delete::EnvDelete;
use pyro_api::operations::snapshot_create::SnapshotCreate;
use pyro_api::operations::snapshot_delete::SnapshotDelete;
use pyro_api::operations::workspace_reset::WorkspaceReset;
use pyro_api::values::Isolation;
use pyro_api::{Caller, Handle};
use pyro_engine::Engine;
use tokio::time::timeout;

use super::contender::{Contender, Goal, League, Turn, Work};
use super::guest::{KINDS, noun};
use super::gvisor::Gvisor;
use super::lazy::Lazy;
use super::workspace::{Shared, Workspace};

/// A delete moves the whole gigabyte.
const HUNG: Duration = Duration::from_secs(120);

const DEPTHS: [usize; 2] = [1, 40];

const MEASURED: &str = "measured";

/// What is kept is called so, and removed after each turn.
const KEPT: &str = "pyro-bench/kept";

/// Where a snapshot of a sandbox is more than a few names: its layer is copied.
pub(crate) const WITHOUT_REFLINKS: &str = "≤ 60 ms with reflinks, which this file system has not";

/// `reflinks`: whether the file system of the state can share what is in files.
pub(crate) fn contenders(gvisor: &Gvisor, engine: &Arc<Engine>, reflinks: bool) -> Vec<Contender> {
    let mut contenders = Vec::new();
    for isolation in KINDS {
        let kind = noun(isolation);
        let large = large(engine, isolation);
        let create = format!("engine in process: `snapshot_create` of a {kind}, 1 GiB changed");
        let reset = format!(
            "engine in process: `workspace_reset` of a {kind} to a snapshot, 1 GiB changed"
        );
        let goal = match isolation {
            Isolation::Gvisor if !reflinks => Goal::NotHere(WITHOUT_REFLINKS),
            _ => Goal::Milliseconds(60.0),
        };
        contenders.extend([
            gvisor
                .row_of(isolation, create, || Create(Rc::clone(&large)))
                .goal(Some(goal)),
            gvisor
                .row_of(isolation, reset, || Reset(Rc::clone(&large)))
                .goal((isolation == Isolation::Vm).then_some(Goal::Milliseconds(500.0))),
        ]);
        // Layers of a sandbox are merged when it has stopped.
        if isolation == Isolation::Vm {
            contenders.push(
                Contender::new(
                    "engine in process: `env_create` of a running VM, 1 GiB changed",
                    Keep(Rc::clone(&large)),
                )
                .goal(Some(Goal::Milliseconds(1000.0))),
            );
            contenders.push(Contender::new(
                "engine in process: `snapshot_delete`, 1 GiB merged under a running VM",
                Delete(large),
            ));
        }
    }
    let deep = DEPTHS.map(|depth| (depth, deep(engine, depth)));
    for (shown, line, league) in [
        ("`true`", "true", League::DeepExec),
        (
            "reading 40 MiB from the disk",
            "echo 3 > /proc/sys/vm/drop_caches; cat /workspace/file-* > /dev/null",
            League::DeepRead,
        ),
    ] {
        for (depth, workspace) in &deep {
            let exec = Exec {
                workspace: Rc::clone(workspace),
                line,
            };
            let label = format!("engine in process: exec {shown} in a VM, {depth} snapshots deep");
            let contender = Contender::new(label, exec).league(league);
            contenders.push(match *depth {
                1 => contender.yardstick(),
                _ => contender.goal(Some(Goal::Ratio(1.2))),
            });
        }
    }
    contenders
}

/// A workspace with one gigabyte of noise.
fn large(engine: &Arc<Engine>, isolation: Isolation) -> Rc<Lazy<Large>> {
    let engine = Arc::clone(engine);
    Lazy::new(move || {
        let engine = Arc::clone(&engine);
        async move {
            let workspace = Workspace::create(&engine, isolation, None).await?;
            workspace
                .prepare("head -c 1G /dev/urandom > noise; sync")
                .await?;
            Ok(Large {
                workspace,
                exists: Cell::new(false),
            })
        }
    })
}

/// VMs that are alike but for their layers: files in each snapshot.
fn deep(engine: &Arc<Engine>, depth: usize) -> Shared {
    let engine = Arc::clone(engine);
    Lazy::new(move || {
        let engine = Arc::clone(&engine);
        async move {
            let workspace = Workspace::create(&engine, Isolation::Vm, None).await?;
            for number in 0..40 {
                // The same files in all, whoever has a layer for each.
                let line = format!("head -c 1M /dev/urandom > file-{number}; sync");
                workspace.prepare(&line).await?;
                if number < depth {
                    create(&workspace, &format!("s{number}")).await?;
                }
            }
            Ok(workspace)
        }
    })
}

struct Large {
    workspace: Workspace,
    /// Whether it has its one snapshot.
    exists: Cell<bool>,
}

impl Large {
    async fn create(&self) -> Result<Duration> {
        self.workspace.wake().await?;
        self.delete().await?;
        let line = match self.workspace.isolation {
            // Only what changed since the last snapshot is copied: all of it must have.
            Isolation::Gvisor => "cp noise anew && mv anew noise && sync",
            // So that there is something that the disk has not yet.
            _ => "head -c 1M /dev/urandom > more",
        };
        self.workspace.prepare(line).await?;
        let took = create(&self.workspace, MEASURED).await?;
        self.exists.set(true);
        self.workspace.rest().await?;
        Ok(took)
    }

    /// All of the gigabyte is hashed each time, as no environment has it.
    async fn keep(&self) -> Result<Duration> {
        self.workspace.wake().await?;
        let keep = EnvCreate {
            environment: KEPT.to_owned(),
            workspace_id: self.workspace.id.clone(),
            snapshot: None,
            replace: true,
        };
        let engine = &self.workspace.engine;
        let started = Instant::now();
        timeout(HUNG, engine.handle(keep, &Caller::new()))
            .await
            .context("keeping hung")??;
        let took = started.elapsed();
        let delete = EnvDelete {
            environment: KEPT.to_owned(),
        };
        engine.handle(delete, &Caller::new()).await?;
        self.workspace.rest().await?;
        Ok(took)
    }

    async fn with_snapshot(&self) -> Result<()> {
        if !self.exists.get() {
            self.create().await?;
        }
        Ok(())
    }

    async fn delete(&self) -> Result<Duration> {
        if !self.exists.get() {
            return Ok(Duration::ZERO);
        }
        let delete = SnapshotDelete {
            workspace_id: self.workspace.id.clone(),
            snapshot_name: MEASURED.parse()?,
        };
        let engine = &self.workspace.engine;
        let started = Instant::now();
        timeout(HUNG, engine.handle(delete, &Caller::new()))
            .await
            .context("a delete hung")??;
        self.exists.set(false);
        Ok(started.elapsed())
    }

    async fn reset(&self) -> Result<Duration> {
        self.with_snapshot().await?;
        self.workspace.wake().await?;
        let line = "rm /workspace/noise";
        self.workspace.exec(line.to_owned().into()).await?;
        let reset = WorkspaceReset {
            workspace_id: self.workspace.id.clone(),
            snapshot: MEASURED.to_owned(),
        };
        let engine = &self.workspace.engine;
        let started = Instant::now();
        timeout(HUNG, engine.handle(reset, &Caller::new()))
            .await
            .context("a reset hung")??;
        let took = started.elapsed();
        self.workspace.rest().await?;
        Ok(took)
    }
}

async fn create(workspace: &Workspace, name: &str) -> Result<Duration> {
    let create = SnapshotCreate {
        workspace_id: workspace.id.clone(),
        snapshot_name: name.parse()?,
    };
    let started = Instant::now();
    timeout(HUNG, workspace.engine.handle(create, &Caller::new()))
        .await
        .context("a snapshot hung")??;
    Ok(started.elapsed())
}

struct Create(Rc<Lazy<Large>>);

impl Work for Create {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async { self.0.get().await?.create().await })
    }
}

struct Keep(Rc<Lazy<Large>>);

impl Work for Keep {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async { self.0.get().await?.keep().await })
    }
}

struct Reset(Rc<Lazy<Large>>);

impl Work for Reset {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async { self.0.get().await?.reset().await })
    }
}

struct Delete(Rc<Lazy<Large>>);

impl Work for Delete {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let large = self.0.get().await?;
            large.with_snapshot().await?;
            large.delete().await
        })
    }
}

struct Exec {
    workspace: Shared,
    line: &'static str,
}

impl Work for Exec {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let workspace = self.workspace.get().await?;
            let started = Instant::now();
            workspace.exec(self.line.to_owned().into()).await?;
            Ok(started.elapsed())
        })
    }
}
