//! From a project folder of the host to a place where commands can work on a copy of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::contender::{Contender, Goal, League, Turn, Work};
use super::docker::Docker;
use super::process;
use super::pyro::{ENVIRONMENT, Pyro};

pub(crate) fn contenders(
    pyro: &Pyro,
    docker: Result<&Docker, &String>,
    seed: &Path,
) -> Vec<Contender> {
    let create = Create {
        pyro: pyro.clone(),
        seed: seed.to_owned(),
    };
    let label = "`docker run --detach`, then `docker cp`: a container of 1,000 files, 10 MB";
    let copied = match docker {
        Ok(docker) => Contender::new(label, docker.seeded(seed)),
        Err(why) => Contender::missing(label, why),
    };
    vec![
        Contender::new(
            "`pyro workspace create --seed-path …`: of 1,000 files, 10 MB",
            create,
        )
        .league(League::Seeded)
        .goal(Some(Goal::Ratio(1.5))),
        copied.league(League::Seeded).yardstick(),
    ]
}

struct Create {
    pyro: Pyro,
    seed: PathBuf,
}

impl Create {
    async fn create(&self) -> Result<Duration> {
        let mut create = self.pyro.command();
        create.args(["workspace", "create", ENVIRONMENT, "--id-only"]);
        create.arg("--seed-path").arg(&self.seed);
        let (took, output) = process::run(&mut create).await?;
        let id = String::from_utf8(output.stdout)?;
        ensure!(!id.trim().is_empty(), "no id was printed");
        let mut delete = self.pyro.command();
        process::run(delete.args(["workspace", "delete", id.trim()])).await?;
        Ok(took)
    }
}

impl Work for Create {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.create())
    }
}
