//! The `pyro` under test, as people run it: one process for each command.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pyro_engine::Config;
use serde_json::Value;
use tokio::process::Command;

use super::contender::{Contender, Errand, Goal, League, Turn, WARM_UP_ROUNDS, Work};
use super::process::{self, Process};
use super::statistics::Sample;
use super::table::milliseconds;

pub(crate) const ENVIRONMENT: &str = "debian:12";

/// What a VM tells of itself.
pub(crate) struct Inside {
    pub(crate) accelerator: String,
    pub(crate) accelerator_reason: String,
    pub(crate) kernel: String,
    agent_resident: String,
}

impl Inside {
    pub(crate) fn is_emulated(&self) -> bool {
        self.accelerator == "tcg"
    }
}

#[derive(Clone)]
pub(crate) struct Pyro {
    binary: PathBuf,
    /// Its records are the benchmark's own: what else runs here neither counts nor is swept.
    state_dir: PathBuf,
}

impl Pyro {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let binary = config
            .pyro
            .clone()
            .context("the `pyro` binary was not found: make build, or set PYRO_BIN")?;
        Ok(Self {
            binary,
            state_dir: config.state_dir.clone(),
        })
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("PYRO_STATE_DIR", &self.state_dir);
        command
    }

    /// The answer to a command that was asked for JSON.
    pub(crate) async fn json(&self, args: &[&str]) -> Result<Value> {
        let (_, output) = process::run(self.command().args(args)).await?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Looks around in a fresh VM.
    pub(crate) async fn look_inside(&self) -> Result<Inside> {
        let look = "uname -r; sed -n 's/^VmRSS:\\s*//p' /proc/1/status";
        let vm = self
            .json(&[
                "run",
                ENVIRONMENT,
                "--isolation",
                "vm",
                "--json",
                "--",
                look,
            ])
            .await?;
        let fact = |name: &str| {
            vm[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| name.to_owned())
        };
        let seen = fact("stdout")?;
        let (kernel, agent_resident) = seen.trim().split_once('\n').context("two lines")?;
        Ok(Inside {
            accelerator: fact("accelerator")?,
            accelerator_reason: fact("accelerator_reason")?,
            kernel: kernel.to_owned(),
            agent_resident: agent_resident.to_owned(),
        })
    }

    /// What is measured, to the commit.
    pub(crate) async fn describe(&self, vm: &Inside) -> Result<String> {
        let version = process::text(&self.binary.to_string_lossy(), &["--version"]).await?;
        let describe = [
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "describe",
            "--always",
            "--dirty",
        ];
        let commit = process::text("git", &describe).await;
        let agent = std::fs::metadata(self.binary.with_file_name("pyro-agent"))?;
        Ok(format!(
            "{version} (commit {}); its agent is {} KiB on disk and takes {} in the guest",
            commit.as_deref().unwrap_or("unknown"),
            agent.len() / 1024,
            vm.agent_resident
        ))
    }

    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let mut contenders = Vec::new();
        for errand in Errand::ALL {
            contenders.push(
                Contender::new(
                    run_label("--isolation vm ", errand),
                    Run::new(self.clone(), errand, true),
                )
                .league(League::Fresh(errand))
                .goal(match errand {
                    Errand::True => Some(Goal::Ratio(1.0)),
                    Errand::Git => None,
                    Errand::Python => Some(Goal::Ratio(2.5)),
                }),
            );
        }
        contenders.push(
            Contender::new(
                run_label("--isolation vm ", Errand::True) + ", no template: a cold boot",
                Run::new(self.clone(), Errand::True, false),
            )
            .league(League::Fresh(Errand::True)),
        );
        let binary = self.binary.to_string_lossy();
        contenders.push(Contender::new(
            "`pyro --version`",
            Process::new([&binary, "--version"]),
        ));
        contenders
    }
}

/// How a row of `pyro run` is called.
pub(crate) fn run_label(options: &str, errand: Errand) -> String {
    format!("`pyro run {options}{ENVIRONMENT} -- {errand}`")
}

/// `pyro run`, on a template or without.
struct Run {
    pyro: Pyro,
    errand: Errand,
    templates: bool,
    /// Of each turn: milliseconds until the agent answered, and whether a start was tried again.
    starts: Vec<(f64, bool)>,
}

impl Run {
    fn new(pyro: Pyro, errand: Errand, templates: bool) -> Self {
        Self {
            pyro,
            errand,
            templates,
            starts: Vec::new(),
        }
    }

    async fn run(&mut self) -> Result<Duration> {
        let templates = if self.templates { "on" } else { "off" };
        let mut command = self.pyro.command();
        command
            .env("PYRO_TEMPLATES", templates)
            .args(["run", ENVIRONMENT, "--isolation", "vm", "--json", "--"])
            .args(self.errand.words());
        let (took, output) = process::run(&mut command).await?;
        let result: Value = serde_json::from_slice(&output.stdout)?;
        // A fallback would be timed as what it is not.
        ensure!(
            result["resumed"] == self.templates,
            "resumed should be {}: {result}",
            self.templates
        );
        let answered = result["boot_ms"].as_f64().context("no boot_ms")?;
        self.starts.push((answered, result["boot_attempts"] != 1));
        Ok(took)
    }
}

impl Work for Run {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.run())
    }

    fn remark(&self) -> Option<String> {
        let counted = self.starts.get(WARM_UP_ROUNDS..)?;
        let answered = Sample::new(counted.iter().map(|(answered, _)| *answered))?;
        let again = counted.iter().filter(|(_, again)| *again).count();
        Some(format!(
            "{} ms (median) from the start of the shim to the agent's answer; {again} starts tried \
             again",
            milliseconds(answered.median()),
        ))
    }
}
