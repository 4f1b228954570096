//! From a project folder of the host to a place where commands can work on a copy of it.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use pyro_api::values::Isolation;

use super::contender::{Contender, Goal, League, Turn, Work};
use super::docker::Docker;
use super::guest::{KINDS, noun};
use super::gvisor::Gvisor;
use super::process::{self, HUNG};
use super::pyro::{ENVIRONMENT, Pyro};
use super::seed::Folder;

pub(crate) fn contenders(
    pyro: &Pyro,
    gvisor: &Gvisor,
    docker: Result<&Docker, &String>,
    seed: &Folder,
) -> Vec<Contender> {
    let mut contenders: Vec<Contender> = KINDS
        .into_iter()
        .map(|isolation| {
            let label = format!(
                "`pyro workspace create --seed-path …`: a {} of 1,000 files, 10 MB",
                noun(isolation)
            );
            gvisor
                .row_of(isolation, label, || {
                    Create::new(pyro, isolation, seed, HUNG)
                })
                .league(League::Seeded)
                .goal(Some(Goal::Ratio(1.5)))
        })
        .collect();
    let label = "`docker run --detach`, then `docker cp`: a container of 1,000 files, 10 MB";
    let copied = match docker {
        Ok(docker) => Contender::new(label, docker.seeded(seed)),
        Err(why) => Contender::missing(label, why),
    };
    contenders.push(copied.league(League::Seeded).yardstick());
    contenders
}

/// The whole command. The workspace is deleted afterwards, untimed.
pub(crate) struct Create {
    pyro: Pyro,
    isolation: Isolation,
    seed: Folder,
    limit: Duration,
}

impl Create {
    pub(crate) fn new(pyro: &Pyro, isolation: Isolation, seed: &Folder, limit: Duration) -> Self {
        Self {
            pyro: pyro.clone(),
            isolation,
            seed: Rc::clone(seed),
            limit,
        }
    }

    async fn create(&self) -> Result<Duration> {
        let seed = self.seed.get().await?;
        let mut create = self.pyro.command();
        create.args(["workspace", "create", ENVIRONMENT, "--id-only"]);
        create.args(["--isolation", &self.isolation.to_string()]);
        create.arg("--seed-path").arg(seed);
        let (took, output) = process::run_within(&mut create, self.limit).await?;
        let id = String::from_utf8(output.stdout)?;
        ensure!(!id.trim().is_empty(), "no id was printed");
        let mut delete = self.pyro.command();
        delete.args(["workspace", "delete", id.trim()]);
        process::run_within(&mut delete, self.limit).await?;
        Ok(took)
    }
}

impl Work for Create {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.create())
    }
}
