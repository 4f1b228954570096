//! Docker, on an image made of the same files. `scripts/with-docker` starts an engine for it.

use std::path::Path;
use std::process::{Command as Blocking, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::contender::{Contender, Errand, League, Turn, Work};
use super::port;
use super::process::{self, Process};
use super::seed::Folder;

/// Set by `scripts/with-docker` when there is no engine.
const WHY_NOT: &str = "NO_DOCKER_BECAUSE";

/// A Docker engine with one image of ours and its containers, which go when this is dropped.
pub(crate) struct Docker {
    /// What the image and the container that runs all the time are called.
    name: String,
    versions: String,
}

impl Docker {
    /// Uses the engine that `DOCKER_HOST` names; the inner error says why there is none.
    pub(crate) async fn prepare(rootfs: &Path) -> Result<Result<Self, String>> {
        if std::env::var_os("DOCKER_HOST").is_none() {
            return Ok(Err(std::env::var(WHY_NOT).unwrap_or_else(|_| {
                "DOCKER_HOST is not set (`scripts/with-docker` starts an engine)".to_owned()
            })));
        }
        let docker = Self {
            name: format!("pyro-bench-{}", std::process::id()),
            versions: versions().await?,
        };
        docker.import(rootfs).await?;
        docker.start_container().await?;
        Ok(Ok(docker))
    }

    pub(crate) fn describe(&self) -> &str {
        &self.versions
    }

    /// Starts a container and copies a folder into it.
    pub(crate) fn seeded(&self, seed: &Folder) -> Seeded {
        Seeded {
            image: self.name.clone(),
            container: self.seeded_container(),
            seed: Rc::clone(seed),
        }
    }

    /// Two containers on the bridge, one of which runs this command and a port: the name of the
    /// other, and the address of the first.
    pub(crate) async fn bridged(&self, serve: &[&str], port: u16) -> Result<(String, String)> {
        let [client, server] = self.bridged_containers();
        let port = port.to_string();
        for (name, words) in [
            (&server, [serve, &[port.as_str()]].concat()),
            (&client, vec!["sleep", "infinity"]),
        ] {
            let mut docker = Command::new("docker");
            docker.args(["run", "--detach", "--name", name, &self.name]);
            process::run(docker.args(words)).await?;
        }
        let address = "{{.NetworkSettings.IPAddress}}";
        let address = process::text("docker", &["inspect", "--format", address, &server]).await?;
        ensure!(!address.trim().is_empty(), "the bridge gave no address");
        Ok((client, address.trim().to_owned()))
    }

    fn bridged_containers(&self) -> [String; 2] {
        ["client", "server"].map(|role| format!("{}-{role}", self.name))
    }

    fn seeded_container(&self) -> String {
        format!("{}-seeded", self.name)
    }

    /// Starts a container whose server is published; the port on the engine's side.
    pub(crate) async fn publish(&self) -> Result<u16> {
        let name = self.published_container();
        let guest = port::GUEST_PORT.to_string();
        let publish = format!("127.0.0.1::{guest}");
        let run = ["run", "--detach", "--publish", &publish, "--name", &name];
        let mut docker = Command::new("docker");
        docker
            .args(run)
            .args([&self.name, "sh", "-c", port::SERVER]);
        process::run(&mut docker).await?;
        let bound = process::text("docker", &["port", &name, &guest]).await?;
        let first = bound.lines().next().unwrap_or_default();
        let (_, bound) = first.rsplit_once(':').context("docker port says nothing")?;
        // It has to write its file first.
        let ready = format!(
            "until python3 -c 'import urllib.request as r; \
             r.urlopen(\"http://127.0.0.1:{guest}/small\")' 2>/dev/null; do sleep 0.1; done"
        );
        let wait = ["exec", &name, "sh", "-c", &ready];
        process::text("docker", &wait).await?;
        Ok(bound.parse()?)
    }

    fn published_container(&self) -> String {
        format!("{}-published", self.name)
    }

    async fn import(&self, rootfs: &Path) -> Result<()> {
        let mut tar = Command::new("tar")
            .arg("--directory")
            .arg(rootfs)
            .args(["--create", "--file", "-", "."])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting tar")?;
        let files: Stdio = tar.stdout.take().context("no pipe from tar")?.try_into()?;
        let import = Command::new("docker")
            .args(["import", "-", &self.name])
            .stdin(files)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await?;
        ensure!(import.success(), "docker import: {import}");
        let tar = tar.wait().await?;
        ensure!(tar.success(), "tar of {}: {tar}", rootfs.display());
        Ok(())
    }

    async fn start_container(&self) -> Result<()> {
        let run = ["run", "--detach", "--network", "none", "--name", &self.name];
        let mut docker = Command::new("docker");
        docker.args(run).args([&self.name, "sleep", "infinity"]);
        process::run(&mut docker).await?;
        Ok(())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Each ends soon when the engine is gone, and its folder with it.
        let [client, server] = self.bridged_containers();
        for (what, name) in [
            ("rm", client),
            ("rm", server),
            ("rm", self.seeded_container()),
            ("rm", self.published_container()),
            ("rm", self.name.clone()),
            ("rmi", self.name.clone()),
        ] {
            let _ = Blocking::new("timeout")
                .args(["20", "docker", what, "--force", &name])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

pub(crate) struct Seeded {
    image: String,
    container: String,
    seed: Folder,
}

impl Seeded {
    async fn create(&self) -> Result<Duration> {
        let seed = self.seed.get().await?;
        let run = ["run", "--detach", "--network", "none", "--name"];
        let mut start = Command::new("docker");
        start
            .args(run)
            .args([&self.container, &self.image, "sleep", "infinity"]);
        let (started, _) = process::run(&mut start).await?;
        let mut copy = Command::new("docker");
        copy.arg("cp")
            .arg(seed)
            .arg(format!("{}:/workspace", self.container));
        let (copied, _) = process::run(&mut copy).await?;
        let mut remove = Command::new("docker");
        process::run(remove.args(["rm", "--force", &self.container])).await?;
        Ok(started + copied)
    }
}

impl Work for Seeded {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.create())
    }
}

pub(crate) fn contenders(docker: Result<&Docker, &String>) -> Vec<Contender> {
    let contender = |shown: &str, words: &[&str], errand: Errand| {
        let label = format!("`docker {shown} {errand}`");
        match docker {
            Ok(docker) => {
                let words = [&["docker"], words, &[docker.name.as_str()], errand.words()];
                Contender::new(label, Process::new(words.concat()))
            }
            Err(why) => Contender::missing(label, why),
        }
    };
    let mut contenders = Vec::new();
    for errand in Errand::ALL {
        contenders.push(
            contender(
                "run --rm --network none IMAGE",
                &["run", "--rm", "--network", "none"],
                errand,
            )
            .league(League::Fresh(errand))
            .yardstick(),
        );
    }
    contenders.push(
        contender("run --rm IMAGE", &["run", "--rm"], Errand::True)
            .league(League::Fresh(Errand::True)),
    );
    for errand in Errand::ALL {
        contenders.push(
            contender("exec CONTAINER", &["exec"], errand)
                .league(League::Running(errand))
                .yardstick(),
        );
    }
    contenders
}

/// Engine and client, and how the engine keeps its layers.
async fn versions() -> Result<String> {
    let version = "engine {{.Server.Version}}, client {{.Client.Version}}";
    let version = process::text("docker", &["version", "--format", version]).await?;
    let driver = process::text("docker", &["info", "--format", "{{.Driver}}"]).await?;
    let note = if driver == "overlay2" {
        ""
    } else {
        " (slower than overlay2, which did not work here: unfair to Docker)"
    };
    Ok(format!("{version}, storage driver {driver}{note}"))
}
