//! What changed among very many files: pyro's diff next to git's, in the same guest.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pyro_api::operations::workspace_diff::WorkspaceDiff;
use pyro_api::{Caller, Handle};
use tokio::time::timeout;

use super::contender::{Contender, League, Turn, Work};
use super::process::HUNG;
use super::seed::{self, REPOSITORY};
use super::workspace::Workspace;

const CHANGED: usize = 20;

/// The index is kept elsewhere, because git notes in it what it has looked at: it would be one more
/// change, and a large one.
const STATUS: &str = "GIT_INDEX_FILE=/root/index git status --porcelain";

/// Changes some files, and lets both look once: what is measured is every later time.
pub(crate) async fn prepare(workspace: &Workspace) -> Result<()> {
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

pub(crate) fn contenders(workspace: &Rc<Workspace>) -> Vec<Contender> {
    let workspace = || Rc::clone(workspace);
    vec![
        Contender::new(
            "engine in process: `workspace_diff`, 20 of 50,000 files changed",
            Diff(workspace()),
        )
        .league(League::Reviewed),
        Contender::new(
            "engine in process: exec `git status --porcelain` there",
            Status(workspace()),
        )
        .league(League::Reviewed)
        .yardstick(),
    ]
}

struct Diff(Rc<Workspace>);

impl Work for Diff {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async { timeout(HUNG, diff(&self.0)).await.context("a diff hung")? })
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

struct Status(Rc<Workspace>);

impl Work for Status {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let started = Instant::now();
            let result = self.0.exec(STATUS.to_owned().into()).await?;
            let took = started.elapsed();
            let found = result.stdout.lines().count();
            ensure!(found == CHANGED, "git found {found} changes");
            Ok(took)
        })
    }
}

/// Writes the repository that the workspace is made of.
pub(crate) async fn write_repository(to: &Path) -> Result<()> {
    REPOSITORY.write(to)?;
    seed::commit(to).await
}
