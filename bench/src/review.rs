//! What changed among very many files: pyro's diff next to git's, in the same guest.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pyro_api::operations::workspace_diff::WorkspaceDiff;
use pyro_api::values::Isolation;
use pyro_api::{Caller, Handle};
use pyro_engine::Engine;
use tokio::time::timeout;

use super::contender::{Contender, League, Turn, Work};
use super::guest::noun;
use super::gvisor::Gvisor;
use super::lazy::Lazy;
use super::process::HUNG;
use super::seed::{self, Folder, REPOSITORY};
use super::workspace::{Shared, Workspace};

const CHANGED: usize = 20;

/// The index is kept elsewhere, because git notes in it what it has looked at: it would be one more
/// change, and a large one.
const STATUS: &str = "GIT_INDEX_FILE=/root/index git status --porcelain";

/// Changes some files, and lets both look once: what is measured is every later time.
async fn prepare(workspace: &Workspace) -> Result<()> {
    let files: Vec<String> = (0..REPOSITORY.files)
        .step_by(REPOSITORY.files / CHANGED)
        .map(|number| seed::file(number).display().to_string())
        .collect();
    let line = format!(
        "cp .git/index /root/index && for file in {}; do echo changed >>$file; done && {STATUS}",
        files.join(" ")
    );
    let status = workspace.prepare(&line).await?;
    ensure!(status.lines().count() == CHANGED, "git says: {status}");
    diff(workspace).await?;
    Ok(())
}

/// A workspace of the [repository] in which something has changed.
pub(crate) fn workspace(engine: &Arc<Engine>, isolation: Isolation, repository: &Folder) -> Shared {
    let (engine, repository) = (Arc::clone(engine), Rc::clone(repository));
    Lazy::new(move || {
        let (engine, repository) = (Arc::clone(&engine), Rc::clone(&repository));
        async move {
            let seed = repository.get().await?;
            let started = Instant::now();
            let workspace = Workspace::create(&engine, isolation, Some(seed)).await?;
            prepare(&workspace).await?;
            eprintln!(
                "bench: a {} of {} files was ready after {:.0} s",
                noun(isolation),
                REPOSITORY.files,
                started.elapsed().as_secs_f64()
            );
            Ok(workspace)
        }
    })
}

pub(crate) fn contenders(
    gvisor: &Gvisor,
    isolation: Isolation,
    workspace: &Shared,
) -> Vec<Contender> {
    let kind = noun(isolation);
    let diff =
        format!("engine in process: `workspace_diff` of a {kind}, 20 of 50,000 files changed");
    let status = format!("engine in process: exec `git status --porcelain` in that {kind}");
    let league = League::Reviewed(isolation);
    vec![
        gvisor
            .row_of(isolation, diff, || Diff(Rc::clone(workspace)))
            .league(league),
        gvisor
            .row_of(isolation, status, || Status(Rc::clone(workspace)))
            .league(league)
            .yardstick(),
    ]
}

struct Diff(Shared);

impl Work for Diff {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let workspace = self.0.get().await?;
            workspace.wake().await?;
            let took = timeout(HUNG, diff(workspace))
                .await
                .context("a diff hung")??;
            workspace.rest().await?;
            Ok(took)
        })
    }
}

async fn diff(workspace: &Workspace) -> Result<Duration> {
    let diff = WorkspaceDiff {
        workspace_id: workspace.id.clone(),
        max_bytes: None,
        skip: 0,
        binary: false,
        prefix: None,
        commits: None,
    };
    let started = Instant::now();
    let differences = workspace.engine.handle(diff, &Caller::new()).await?;
    let took = started.elapsed();
    ensure!(
        differences.entries.len() == CHANGED,
        "found other changes: {:?}",
        differences.summary
    );
    Ok(took)
}

struct Status(Shared);

impl Work for Status {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let workspace = self.0.get().await?;
            workspace.wake().await?;
            let started = Instant::now();
            let result = workspace.exec(STATUS.to_owned().into()).await?;
            let took = started.elapsed();
            workspace.rest().await?;
            let found = result.stdout.lines().count();
            ensure!(found == CHANGED, "git found {found} changes");
            Ok(took)
        })
    }
}

/// The folder that the workspaces are made of, there.
pub(crate) fn repository(to: PathBuf) -> Folder {
    Lazy::new(move || {
        let to = to.clone();
        async move {
            REPOSITORY.write(&to)?;
            seed::commit(&to).await?;
            Ok(to)
        }
    })
}
