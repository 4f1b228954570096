//! Many files and large ones, into a workspace and out of it: pyro next to `cp -a` of the same.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use pyro_api::values::Isolation;
use pyro_engine::Engine;
use tokio::process::Command;
use tokio::task::spawn_blocking;

use super::contender::{Contender, Goal, League, Turn, Work};
use super::guest::{KINDS, noun};
use super::gvisor::Gvisor;
use super::lazy::Lazy;
use super::process;
use super::pyro::Pyro;
use super::seed::{Folder, REPOSITORY};
use super::seeded::Create;
use super::workspace::{self, Shared};

/// Rounds: each turn moves everything once more.
const ROUNDS: usize = 3;

/// Of VMs under emulation, which take minutes.
const SLOW_ROUNDS: usize = 1;

/// Under emulation the largest files keep a guest busy for minutes.
const HUNG: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Many,
    Large,
}

impl fmt::Display for Load {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Many => write!(to, "{},000 files", REPOSITORY.files / 1000),
            Self::Large => write!(to, "{} GB", LARGE_FILES * BYTES_EACH / 1_000_000_000),
        }
    }
}

const LARGE_FILES: u64 = 20;
const BYTES_EACH: u64 = 100_000_000;

/// Files of noise, there.
pub(crate) fn large(to: PathBuf) -> Folder {
    Lazy::new(move || {
        let to = to.clone();
        async move {
            fs::create_dir_all(&to)?;
            for number in 0..LARGE_FILES {
                let mut noise = File::open("/dev/urandom")?.take(BYTES_EACH);
                io::copy(&mut noise, &mut File::create(to.join(number.to_string()))?)?;
            }
            Ok(to)
        }
    })
}

/// What all rows of a load have in common.
pub(crate) struct Copies<'a> {
    pub(crate) pyro: &'a Pyro,
    pub(crate) gvisor: &'a Gvisor,
    pub(crate) engine: &'a Arc<Engine>,
    /// Whether VMs are emulated.
    pub(crate) emulated: bool,
    /// Does not exist between turns.
    pub(crate) target: PathBuf,
}

impl Copies<'_> {
    pub(crate) fn contenders(&self, load: Load, seed: &Folder) -> Vec<Contender> {
        let league = League::Copied(load);
        let copy = Copy {
            seed: Rc::clone(seed),
            target: self.target.clone(),
        };
        let mut contenders = vec![
            Contender::new(format!("`cp -a` of {load}"), copy)
                .league(league)
                .yardstick()
                .at_most(ROUNDS),
        ];
        for isolation in KINDS.into_iter().rev() {
            let (rounds, goal) = match isolation {
                Isolation::Gvisor => (ROUNDS, Some(Goal::Ratio(2.0))),
                _ if self.emulated => (SLOW_ROUNDS, None),
                _ => (ROUNDS, None),
            };
            let kind = noun(isolation);
            let label = format!("`pyro workspace create --seed-path …`: a {kind} of {load}");
            let created = self.gvisor.row_of(isolation, label, || {
                Synced(
                    Create::new(self.pyro, isolation, seed, HUNG),
                    self.target.clone(),
                )
            });
            let label = format!("`pyro workspace export`: {load} of a {kind}");
            let exported = self.gvisor.row_of(isolation, label, || Export {
                pyro: self.pyro.clone(),
                workspace: workspace::seeded(self.engine, isolation, seed),
                target: self.target.clone(),
            });
            for row in [created, exported] {
                contenders.push(row.league(league).goal(goal.clone()).at_most(rounds));
            }
        }
        contenders
    }
}

struct Copy {
    seed: Folder,
    target: PathBuf,
}

impl Work for Copy {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let seed = self.seed.get().await?;
            settle(&self.target).await?;
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(seed).arg(&self.target);
            let (took, _) = process::run_within(&mut copy, HUNG).await?;
            fs::remove_dir_all(&self.target)?;
            Ok(took)
        })
    }
}

struct Export {
    pyro: Pyro,
    workspace: Shared,
    target: PathBuf,
}

impl Work for Export {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let workspace = self.workspace.get().await?;
            workspace.wake().await?;
            settle(&self.target).await?;
            let mut export = self.pyro.command();
            export.args(["workspace", "export", &workspace.id, ".", "--output"]);
            let (took, _) = process::run_within(export.arg(&self.target), HUNG).await?;
            fs::remove_dir_all(&self.target)?;
            workspace.rest().await?;
            Ok(took)
        })
    }
}

/// Work that begins when everything is on the disk.
struct Synced<W>(W, PathBuf);

impl<W: Work> Work for Synced<W> {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            settle(&self.1).await?;
            self.0.turn().await
        })
    }
}

/// Waits until the disk has what earlier turns wrote: the next one is not to pay for it.
async fn settle(target: &Path) -> Result<()> {
    let folder = File::open(target.parent().unwrap_or(target))?;
    spawn_blocking(move || nix::unistd::syncfs(folder)).await??;
    Ok(())
}
