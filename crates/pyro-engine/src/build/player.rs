//! Does the steps of a build that were not done before.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use pyro_api::operations::env_build::EnvBuild;
use pyro_api::values::{CommandLine, EnvVars, TimeoutSeconds};
use pyro_api::{Caller, Error, ErrorCode, Event};
use pyro_build::Key;
use pyro_build::context::Context;
use pyro_build::plan::Base;
use pyro_build::resolve::{Action, CopyStep, CopyWhat, Resolved, RunStep, Step};
use pyro_catalog::{EnvironmentSpec, KeptName};
use pyro_wire::files;

use super::copy::{disk_of, empty, one_file, unplaced};
use super::errors::FailedStep;
use super::secrets::BuildSecrets;
use super::site::Site;
use super::step_output::StepOutput;
use crate::engine::Engine;
use crate::error::{cancelled, catalog_failed};
use crate::keep::Keep;
use crate::machine::command::{self, CommandError, CommandSpec};
use crate::machine::facts::ENVIRONMENT_DIGEST;
use crate::workspace::files as guest_files;
use crate::workspace::paths::WorkingDir;

/// Completes "could not be reached to …".
const DOING: &str = "build in it";

/// Where a script lies while its step runs; in the guest's memory.
const SCRIPT: &str = "/run/pyro-build-script";

/// All that is known of a file before anything is done.
pub(super) struct Prepared {
    pub(super) resolved: Resolved,
    /// The disks that keys were made of, by the names of their environments.
    pub(super) digests: BTreeMap<String, String>,
    pub(super) context: Option<Context>,
}

pub(super) struct Player<'a> {
    engine: &'a Engine,
    asked: &'a EnvBuild,
    file: &'a str,
    resolved: Resolved,
    digests: BTreeMap<String, String>,
    context: Option<Arc<Context>>,
    secrets: &'a BuildSecrets,
    caller: &'a Caller,
    /// Keys of steps that this build has done.
    made: HashSet<String>,
    /// All steps there are, and those that were done before.
    pub(super) steps: usize,
    pub(super) cached: usize,
    /// What whoever builds is to know.
    pub(super) notes: Vec<String>,
    /// The last one that was told.
    told: usize,
}

/// Where a stage goes on: after so many of its steps, on this disk.
struct Start {
    after: usize,
    disk: Disk,
}

#[derive(Clone, Copy)]
enum Disk {
    Is(&'static EnvironmentSpec),
    /// The disk that this stage is to have in the end.
    OfStage(usize),
}

impl<'a> Player<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        asked: &'a EnvBuild,
        file: &'a str,
        prepared: Prepared,
        secrets: &'a BuildSecrets,
        caller: &'a Caller,
    ) -> Self {
        let Prepared {
            resolved,
            digests,
            context,
        } = prepared;
        Self {
            engine,
            asked,
            file,
            steps: resolved.stages.iter().map(|stage| stage.steps.len()).sum(),
            resolved,
            digests,
            context: context.map(Arc::new),
            secrets,
            caller,
            made: HashSet::new(),
            cached: 0,
            notes: Vec::new(),
            told: 0,
        }
    }

    /// Does what there is to do. Says which environment has the disk of the last stage.
    pub(super) async fn play(&mut self) -> Result<&'static EnvironmentSpec, Error> {
        let needed = self.needed()?;
        let last = self.resolved.stages.len() - 1;
        for number in 0..=last {
            match needed.contains(&number) {
                true => self.stage(number).await?,
                false => self.tell_cached(number, self.resolved.stages[number].steps.len())?,
            }
        }
        self.disk_of(last)
    }

    /// The stages of which something has to be done.
    fn needed(&self) -> Result<HashSet<usize>, Error> {
        let mut needed = HashSet::new();
        let mut ahead = vec![self.resolved.stages.len() - 1];
        while let Some(number) = ahead.pop() {
            let start = self.start(number)?;
            if let Disk::OfStage(below) = start.disk {
                ahead.push(below);
            }
            let stage = &self.resolved.stages[number];
            let left = &stage.steps[start.after..];
            if left.iter().all(|step| step.action == Action::Configure) || !needed.insert(number) {
                continue;
            }
            for step in left {
                if let Action::Copy(CopyStep {
                    what:
                        CopyWhat::Of {
                            from: Base::Stage(from),
                            ..
                        },
                    ..
                }) = &step.action
                {
                    ahead.push(*from);
                }
            }
        }
        Ok(needed)
    }

    /// The environment of a step that was done before.
    fn cached(&self, key: &Key) -> Option<&'static EnvironmentSpec> {
        if self.asked.no_cache && !self.made.contains(key.as_str()) {
            return None;
        }
        let name = hidden(key).ok()?;
        let spec = self.engine.catalog().find(name.as_str()).ok()?;
        matches!(self.engine.catalog().installed(spec), Ok(Some(_))).then_some(spec)
    }

    fn start(&self, number: usize) -> Result<Start, Error> {
        let stage = &self.resolved.stages[number];
        for (place, step) in stage.steps.iter().enumerate().rev() {
            if step.action == Action::Configure {
                continue;
            }
            if let Some(spec) = self.cached(&step.key) {
                return Ok(Start {
                    after: place + 1,
                    disk: Disk::Is(spec),
                });
            }
        }
        let disk = match &stage.base {
            Base::Stage(below) => Disk::OfStage(*below),
            Base::Environment(name) => Disk::Is(self.find(name)?),
        };
        Ok(Start { after: 0, disk })
    }

    fn find(&self, name: &str) -> Result<&'static EnvironmentSpec, Error> {
        self.engine.catalog().find(name).map_err(catalog_failed)
    }

    /// The environment with the disk that a stage has in the end.
    fn disk_of(&self, number: usize) -> Result<&'static EnvironmentSpec, Error> {
        let stage = &self.resolved.stages[number];
        let changes = |step: &&Step| step.action != Action::Configure;
        match (stage.steps.iter().rev().find(changes), &stage.base) {
            (Some(step), _) => self.find(hidden(&step.key)?.as_str()),
            (None, Base::Stage(below)) => self.disk_of(*below),
            (None, Base::Environment(name)) => self.find(name),
        }
    }

    async fn stage(&mut self, number: usize) -> Result<(), Error> {
        let start = self.start(number)?;
        self.tell_cached(number, start.after)?;
        let mut disk = match start.disk {
            Disk::Is(spec) => spec,
            Disk::OfStage(below) => self.disk_of(below)?,
        };
        let steps = &self.resolved.stages[number].steps[start.after..];
        let secrets = self.secrets.of_steps(steps);
        let mut site = None;
        for place in start.after..self.resolved.stages[number].steps.len() {
            self.tell(number, place, false)?;
            if self.resolved.stages[number].steps[place].action == Action::Configure {
                continue;
            }
            if site.is_none() {
                let engine = self.engine;
                let made = Site::new(engine, disk.name, self.asked, secrets.clone(), self.caller);
                let (made, notes) = made.await?;
                let metadata = made.stored()?.record.metadata;
                self.check_digest(disk.name, metadata.get(ENVIRONMENT_DIGEST))?;
                for note in notes {
                    if !self.notes.contains(&note) {
                        self.notes.push(note);
                    }
                }
                site = Some(made);
            }
            let Some(there) = &site else { continue };
            if let Err(error) = self.step(number, place, there).await {
                return Err(self.failed(error, site).await);
            }
            let is_deep = there.is_deep()?;
            let key = &self.resolved.stages[number].steps[place].key;
            self.made.insert(key.as_str().to_owned());
            if is_deep {
                disk = self.find(hidden(key)?.as_str())?;
                if let Some(left) = site.take() {
                    left.remove().await?;
                }
            }
        }
        match site {
            Some(site) => site.remove().await,
            None => Ok(()),
        }
    }

    /// Refuses an environment that is another one by now than its key was made of.
    fn check_digest(&self, name: &str, now: Option<&String>) -> Result<(), Error> {
        let Some(expected) = self.digests.get(name) else {
            return Ok(());
        };
        match now == Some(expected) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorCode::Conflict,
                format!("`{}` cannot be built", self.file),
            )
            .because(format!("environment `{name}` became another one meanwhile"))
            .hint("Build again")),
        }
    }

    /// Leaves the workspace of a step that failed, if that is wanted, and removes it otherwise.
    async fn failed(&self, error: Error, site: Option<Site<'_>>) -> Error {
        let Some(site) = site else { return error };
        if !self.asked.keep_failed {
            // The first error is the one to tell; a sweep gets what this leaves.
            let _ = site.remove().await;
            return match error.hint {
                Some(_) => error,
                None => {
                    error.hint("`--keep-failed` (`keep_failed`) leaves a workspace to look into")
                }
            };
        }
        match site.leave().await {
            Ok(id) => {
                let look = format!(
                    "Workspace `{id}` is as the step left it: `pyro workspace shell open {id}`, and \
                     `pyro workspace delete {id}` when you are done"
                );
                let hint = match &error.hint {
                    Some(hint) => format!("{hint}. {look}"),
                    None => look,
                };
                error.hint(hint)
            }
            Err(why) => error.because(format!("the workspace could not be kept: {why}")),
        }
    }

    async fn step(&self, number: usize, place: usize, site: &Site<'_>) -> Result<(), Error> {
        let step = &self.resolved.stages[number].steps[place];
        let failed = FailedStep {
            number: self.told,
            of: self.steps,
            place: &step.at,
            text: &step.text,
        };
        let done = match &step.action {
            Action::Run(run) => self.run(run, &failed, site).await,
            Action::Copy(copy) => self
                .copy(copy, site)
                .await
                .map_err(|error| failed.because_of(error)),
            Action::Folder { path, user } => {
                let request = files::Place {
                    destination: path.as_bytes().to_vec().into(),
                    owner: user.as_ref().map(|user| user.as_bytes().to_vec().into()),
                    ..files::Place::default()
                };
                let placed = self.place(request, empty()?, site).await;
                placed.map_err(|error| failed.because_of(error))
            }
            Action::Configure => return Ok(()),
        };
        done?;
        let keep = Keep {
            workspace: site.id().to_owned(),
            snapshot: None,
            name: hidden(&step.key)?,
            replace: true,
            config: None,
            source: Some(format!("a step of {}", self.file)),
        };
        self.engine.keep(keep, self.caller).await.map(drop)
    }

    async fn run(
        &self,
        run: &RunStep,
        failed: &FailedStep<'_>,
        site: &Site<'_>,
    ) -> Result<(), Error> {
        let explained = |error| failed.because_of(error);
        let stored = site.stored()?;
        let mut given = Vec::new();
        let mut secret_env = Vec::new();
        let opened = self.engine.unseal_secrets(&stored)?;
        for secret in &run.secrets {
            let Some(name) = self.secrets.name(&secret.id) else {
                continue;
            };
            if let Some(variable) = &secret.env {
                secret_env.push((name.clone(), variable.clone()));
            }
            let value = opened.as_ref().and_then(|all| all.value(&name));
            if let (Some(target), Some(value)) = (&secret.target, value) {
                let owner = (secret.user, secret.group);
                given.push((target.clone(), one_file(target, secret.mode, owner, value)?));
            }
        }
        let mut words: Vec<Vec<u8>> = run
            .words
            .iter()
            .map(|word| word.clone().into_bytes())
            .collect();
        if let Some(script) = &run.script {
            words.push(SCRIPT.as_bytes().to_vec());
            given.push((
                SCRIPT.to_owned(),
                one_file(SCRIPT, 0o755, (0, 0), script.as_bytes())?,
            ));
        }
        let mut placed = Vec::new();
        for (path, archive) in given {
            let request = files::Place {
                destination: b"/".to_vec().into(),
                ..files::Place::default()
            };
            self.place(request, archive, site)
                .await
                .map_err(explained)?;
            placed.push(path);
        }
        let env = EnvVars::from(
            run.env
                .iter()
                .cloned()
                .collect::<std::collections::BTreeMap<_, _>>(),
        );
        let command = CommandLine::Program(words);
        let limit = TimeoutSeconds::new(self.asked.timeout_seconds.get().into()).ok();
        let spec = CommandSpec {
            command: &command,
            folder: WorkingDir::parse(Some(&run.folder))?,
            env: &env,
            user: run
                .user
                .as_ref()
                .map(|user| user.as_bytes().to_vec().into()),
            secret_env: &secret_env,
            timeout: limit,
        };
        let output = StepOutput::new(self.caller);
        let heard = Caller::new().with_events(output.clone());
        let stream = self
            .engine
            .reconnect(&stored, DOING)
            .await
            .map_err(explained)?;
        let ended = command::run(stream, &spec, &heard).await;
        let told = match ended {
            Ok(finished) if finished.end.timed_out => {
                let seconds = self.asked.timeout_seconds.get();
                Some(format!("it took longer than {seconds} s"))
            }
            Ok(finished) if finished.end.oom_killed => {
                let mem = self.asked.mem_mib.get();
                Some(format!(
                    "its guest ran out of its {mem} MiB of memory (`--mem-mib`)"
                ))
            }
            Ok(finished) if finished.end.exit_code != 0 => match finished.end.signal {
                Some(signal) => Some(format!("it was ended by signal {signal}")),
                None => Some(format!("it exited with status {}", finished.end.exit_code)),
            },
            Ok(_) => None,
            Err(CommandError::CallerGone) => return Err(cancelled()),
            Err(CommandError::Refused { fault }) => Some(fault.message),
            Err(error) => {
                let gone = Error::new(ErrorCode::VmDied, "Its guest went away").caused_by(&error);
                return Err(failed.because_of(gone));
            }
        };
        if !placed.is_empty() {
            let request = files::Place {
                destination: b"/run".to_vec().into(),
                remove: placed
                    .iter()
                    .map(|path| path.as_bytes().to_vec().into())
                    .collect(),
                ..files::Place::default()
            };
            self.place(request, empty()?, site)
                .await
                .map_err(explained)?;
        }
        match told {
            None => Ok(()),
            Some(why) => Err(failed.command_failed(&why, &output.end(), self.asked.network_policy)),
        }
    }

    async fn copy(&self, copy: &CopyStep, site: &Site<'_>) -> Result<(), Error> {
        let request = files::Place {
            destination: copy.destination.as_bytes().to_vec().into(),
            alone: copy.alone.clone().map(Into::into),
            owner: copy
                .owner
                .as_ref()
                .map(|owner| owner.as_bytes().to_vec().into()),
            mode: copy.mode,
            remove: Vec::new(),
        };
        match &copy.what {
            CopyWhat::Members { members, unpacks } => {
                let (members, unpacks) = (members.clone(), *unpacks);
                let context = self.context.clone();
                // An archive becomes what is in it, which has names of its own.
                let request =
                    match unpacks && super::copy::is_archive(&members, context.as_deref())? {
                        true => files::Place {
                            alone: None,
                            ..request
                        },
                        false => request,
                    };
                self.placing(request, site, move |to| {
                    super::copy::pack_members(&members, unpacks, context.as_deref(), to)
                })
                .await
            }
            CopyWhat::Of { from, sources } => {
                let spec = match from {
                    Base::Stage(number) => self.disk_of(*number)?,
                    Base::Environment(name) => self.find(name)?,
                };
                let installed = self.engine.catalog().installed(spec);
                let installed = installed.map_err(catalog_failed)?;
                let digest = installed.as_ref().map(|it| &it.rootfs_digest);
                self.check_digest(spec.name, digest)?;
                let disk = disk_of(spec, installed.as_ref())?;
                let found = super::copy::find_in(disk, sources.clone()).await?;
                // What is a folder is never alone.
                let request = files::Place {
                    alone: request.alone.filter(|_| found.is_one_file()),
                    ..request
                };
                self.placing(request, site, move |to| found.pack(to)).await
            }
        }
    }

    async fn place(
        &self,
        request: files::Place,
        archive: Vec<u8>,
        site: &Site<'_>,
    ) -> Result<(), Error> {
        self.placing(request, site, move |to| {
            to.write_all(&archive).map_err(|error| unplaced(&error))
        })
        .await
    }

    async fn placing(
        &self,
        request: files::Place,
        site: &Site<'_>,
        fill: impl FnOnce(&mut dyn std::io::Write) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let stored = site.stored()?;
        let line = self.engine.reconnect(&stored, DOING).await?;
        guest_files::place(line, request, fill)
            .await
            .map_err(|error| {
                let what = "The files could not be copied into its guest";
                self.engine.files_failed(&stored, what, DOING, error)
            })
    }

    fn tell_cached(&mut self, number: usize, count: usize) -> Result<(), Error> {
        for place in 0..count {
            self.tell(number, place, true)?;
        }
        Ok(())
    }

    fn tell(&mut self, number: usize, place: usize, cached: bool) -> Result<(), Error> {
        self.told += 1;
        self.cached += usize::from(cached);
        let stage = &self.resolved.stages[number];
        let step = &stage.steps[place];
        let phase = Event::Phase {
            scope: "build",
            phase: "step",
            fields: vec![
                ("step", format!("{}/{}", self.told, self.steps)),
                ("stage", stage.name.clone()),
                ("line", step.at.line.to_string()),
                ("cached", cached.to_string()),
                ("instruction", step.text.clone()),
            ],
        };
        self.caller.emit(phase).map_err(|_| cancelled())
    }
}

/// What the disk of a step is kept under.
fn hidden(key: &Key) -> Result<KeptName, Error> {
    KeptName::hidden(key.as_str()).map_err(catalog_failed)
}
