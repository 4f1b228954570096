//! Snapshots: how long one takes, and the way back, with a gigabyte of changes; and what a workspace
//! costs that stands on forty of them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pyro_api::operations::snapshot_create::SnapshotCreate;
use pyro_api::operations::snapshot_delete::SnapshotDelete;
use pyro_api::operations::workspace_reset::WorkspaceReset;
use pyro_api::{Caller, Handle};
use pyro_engine::Engine;
use tokio::time::timeout;

use super::contender::{Contender, Goal, League, Turn, Work};
use super::workspace::Workspace;

/// A delete moves the whole gigabyte.
const HUNG: Duration = Duration::from_secs(120);

const DEPTHS: [usize; 2] = [1, 40];

const MEASURED: &str = "measured";

/// A workspace with one gigabyte of noise, and two that are alike but for their layers: files in
/// each snapshot.
pub(crate) struct Snapshots {
    large: Rc<Large>,
    deep: Vec<(usize, Rc<Workspace>)>,
}

impl Snapshots {
    pub(crate) async fn prepare(engine: &Arc<Engine>) -> Result<Self> {
        let workspace = Workspace::create(engine, None).await?;
        workspace
            .prepare("head -c 1G /dev/urandom > noise; sync")
            .await?;
        let large = Rc::new(Large {
            workspace,
            exists: std::cell::Cell::new(false),
        });
        let mut deep = Vec::new();
        for depth in DEPTHS {
            let workspace = Workspace::create(engine, None).await?;
            for number in 0..40 {
                // The same files in all, whoever has a layer for each.
                let line = format!("head -c 1M /dev/urandom > file-{number}; sync");
                workspace.prepare(&line).await?;
                if number < depth {
                    create(&workspace, &format!("s{number}")).await?;
                }
            }
            deep.push((depth, Rc::new(workspace)));
        }
        Ok(Self { large, deep })
    }

    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let large = || Rc::clone(&self.large);
        let mut contenders = vec![
            Contender::new(
                "engine in process: `snapshot_create`, 1 GiB changed",
                Create(large()),
            )
            .goal(Some(Goal::Milliseconds(60.0))),
            Contender::new(
                "engine in process: `workspace_reset` to a snapshot, 1 GiB changed",
                Reset(large()),
            )
            .goal(Some(Goal::Milliseconds(500.0))),
            Contender::new(
                "engine in process: `snapshot_delete`, 1 GiB merged under a running VM",
                Delete(large()),
            ),
        ];
        for (shown, line, league) in [
            ("`true`", "true", League::DeepExec),
            (
                "reading 40 MiB from the disk",
                "echo 3 > /proc/sys/vm/drop_caches; cat /workspace/file-* > /dev/null",
                League::DeepRead,
            ),
        ] {
            for (depth, workspace) in &self.deep {
                let exec = Exec {
                    workspace: Rc::clone(workspace),
                    line,
                };
                let contender = Contender::new(
                    format!("engine in process: exec {shown}, {depth} snapshots deep"),
                    exec,
                )
                .league(league);
                contenders.push(match *depth {
                    1 => contender.yardstick(),
                    _ => contender.goal(Some(Goal::Ratio(1.2))),
                });
            }
        }
        contenders
    }

    pub(crate) async fn delete(self) -> Result<()> {
        self.large.workspace.delete().await?;
        for (_, workspace) in self.deep {
            workspace.delete().await?;
        }
        Ok(())
    }
}

struct Large {
    workspace: Workspace,
    /// Whether it has its one snapshot.
    exists: std::cell::Cell<bool>,
}

impl Large {
    async fn create(&self) -> Result<Duration> {
        self.delete().await?;
        // So that there is something that the disk has not yet.
        let line = "head -c 1M /dev/urandom > more";
        self.workspace.exec(line.to_owned().into()).await?;
        let took = create(&self.workspace, MEASURED).await?;
        self.exists.set(true);
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
        Ok(started.elapsed())
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

struct Create(Rc<Large>);

impl Work for Create {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.0.create())
    }
}

struct Reset(Rc<Large>);

impl Work for Reset {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.0.reset())
    }
}

struct Delete(Rc<Large>);

impl Work for Delete {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            self.0.with_snapshot().await?;
            self.0.delete().await
        })
    }
}

struct Exec {
    workspace: Rc<Workspace>,
    line: &'static str,
}

impl Work for Exec {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let started = Instant::now();
            self.workspace.exec(self.line.to_owned().into()).await?;
            Ok(started.elapsed())
        })
    }
}
