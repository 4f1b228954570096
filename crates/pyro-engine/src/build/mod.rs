//! Builds an environment from a Containerfile: reads it and what it copies, finds the steps that were done
//! before, does the others in a hidden workspace, and names the result.
//!
//! ```text
//! recipe     the file, its context, its secrets        nothing was made yet
//! facts      what the environments say of themselves   pulled where that is allowed
//! resolved   every step with its key                   all that can be refused is refused by now
//! played     stage by stage, each step kept under its key
//! named      the last key's disk, under the name       no disk is copied
//! ```
//!
//! What a Containerfile means is decided in `pyro-build`.

mod copy;
mod errors;
mod player;
mod recipe;
mod secrets;
mod site;
mod step_output;

use std::collections::BTreeMap;
use std::time::Instant;

use pyro_api::operations::env_build::{BuiltEnvironment, EnvBuild};
use pyro_api::{Caller, Error, ErrorCode, Event};
use pyro_build::Key;
use pyro_build::context::Context;
use pyro_build::plan::Plan;
use pyro_build::resolve::{BaseFacts, Resolved};
use pyro_catalog::{Installed, KeptName};
use pyro_oci::Config;

use self::errors::{build_refused, name_is_a_persons, name_is_taken};
use self::player::{Player, Prepared};
use self::recipe::{Recipe, Source};
use self::secrets::BuildSecrets;
use crate::engine::Engine;
use crate::error::{broke, cancelled, catalog_failed};
use crate::machine::isolation::{Asked, VmKind};

/// What the source of an environment begins with that was built.
const BUILT: &str = "built from ";

/// What a build has come to.
#[derive(Default)]
struct Tally {
    steps: usize,
    cached: usize,
    notes: Vec<String>,
}

impl Engine {
    pub(crate) async fn build_environment(
        &self,
        asked: &EnvBuild,
        caller: &Caller,
    ) -> Result<BuiltEnvironment, Error> {
        let begun = Instant::now();
        let name = KeptName::parse(&asked.environment).map_err(catalog_failed)?;
        self.check_name(&name, asked.replace, caller)?;
        let source = Source::read(asked, caller).await?;
        let secrets = BuildSecrets::new(&asked.build_secrets, caller).await?;
        let mut tally = Tally {
            notes: source.notes.clone(),
            ..Tally::default()
        };
        let mut installed = None;
        for recipe in source.recipes {
            let recipe = match &installed {
                None => recipe,
                Some(below) => recipe.after(below),
            };
            installed = Some(
                self.build_recipe(asked, recipe, &secrets, &mut tally, caller)
                    .await?,
            );
        }
        let Some((installed, config)) = installed.map(|built| (built.installed, built.config))
        else {
            return Err(Error::new(
                ErrorCode::Internal,
                "There was nothing to build",
            ));
        };
        let config = (config, format!("{BUILT}{}", source.file.display()));
        let installed = self
            .name_built(asked, name, &installed, config, caller)
            .await?;
        for note in &tally.notes {
            caller
                .emit(Event::Note(note.clone()))
                .map_err(|_| cancelled())?;
        }
        Ok(BuiltEnvironment {
            environment: self.describe(installed.spec, Ok(Some(installed))),
            steps: tally.steps,
            cached: tally.cached,
            seconds: begun.elapsed().as_secs_f64(),
            notes: tally.notes,
        })
    }

    /// A name is given again when what has it was built, as whoever builds does that many times.
    fn check_name(&self, name: &KeptName, replace: bool, caller: &Caller) -> Result<(), Error> {
        let Ok(spec) = self.catalog().find(name.as_str()) else {
            return Ok(());
        };
        let source = match self.catalog().installed(spec) {
            Ok(None) => return Ok(()),
            Ok(Some(there)) => there.source,
            // Whatever it is, it is somebody's.
            Err(error) => error.to_string(),
        };
        if caller.is_model() {
            return Err(name_is_a_persons(name.as_str()));
        }
        match replace || source.starts_with(BUILT) {
            true => Ok(()),
            false => Err(name_is_taken(name.as_str(), &source)),
        }
    }

    /// Does all steps of one file, and says what the disk of the last is.
    async fn build_recipe(
        &self,
        asked: &EnvBuild,
        recipe: Recipe,
        secrets: &BuildSecrets,
        tally: &mut Tally,
        caller: &Caller,
    ) -> Result<Built, Error> {
        let refused = |error| build_refused(&recipe.shown, &error);
        let plan =
            Plan::of(&recipe.file, recipe.target.as_deref(), &recipe.args).map_err(refused)?;
        tally.notes.extend(plan.notes.iter().cloned());
        let mut facts = BTreeMap::new();
        let mut digests = BTreeMap::new();
        for (name, at) in plan.environments() {
            let spec = self.named(name, caller).await.map_err(|error| {
                let told = Error::new(error.code, format!("`{}` cannot be built", recipe.shown));
                let told = told.because(at).because(&error.error);
                let told = error.causes.into_iter().fold(told, Error::because);
                told.hint(error.hint.unwrap_or_default())
            })?;
            let installed = self.ensure(spec, caller).await?;
            let below = recipe.below.as_ref().filter(|(below, _)| *below == name);
            let config = match below {
                Some((_, config)) => config.clone(),
                None => own_config(&installed),
            };
            let kind = self.choose(guest_of(asked), spec, caller).await?.kind;
            facts.insert(name.to_owned(), facts_of(&installed, config, kind));
            digests.insert(spec.name.to_owned(), installed.rootfs_digest);
        }
        let shown = recipe.shown.clone();
        let (folder, rules) = (recipe.context.clone(), recipe.rules.clone());
        let (resolved, context) = tokio::task::spawn_blocking(move || {
            let context = match plan.has_context() {
                true => Some(Context::open(&folder, rules)?),
                false => None,
            };
            let resolved = plan.resolve(&facts, context.as_ref())?;
            Ok((resolved, context))
        })
        .await
        .map_err(|error| broke(&error))?
        .map_err(|error| build_refused(&shown, &error))?;
        if let Some(context) = &context {
            tally.notes.extend(left_out(context));
        }
        secrets.check(&resolved, &recipe.shown)?;
        let config = final_config(&resolved);
        let mut player = Player::new(
            self,
            asked,
            &recipe.shown,
            Prepared {
                resolved,
                digests,
                context,
            },
            secrets,
            caller,
        );
        let spec = player.play().await?;
        tally.notes.append(&mut player.notes);
        tally.steps += player.steps;
        tally.cached += player.cached;
        let installed = self.catalog().installed(spec).map_err(catalog_failed)?;
        let installed = installed.ok_or_else(|| {
            Error::new(
                ErrorCode::Conflict,
                format!("The disk of `{}` was removed meanwhile", recipe.shown),
            )
            .hint("Something pruned the cache; build again")
        })?;
        Ok(Built { installed, config })
    }

    /// Gives the disk of the last step its name. No disk is copied.
    async fn name_built(
        &self,
        asked: &EnvBuild,
        name: KeptName,
        built: &Installed,
        (config, source): (Config, String),
        caller: &Caller,
    ) -> Result<Installed, Error> {
        let parts = self.catalog().parts(built).map_err(catalog_failed)?;
        let parts = pyro_catalog::Parts {
            config: Some((config, None)),
            source,
            ..parts
        };
        let held = name.clone();
        let keeping = self
            .watched(caller, move |catalog, monitor| {
                catalog.keeping(&held, true, monitor)
            })
            .await?;
        // Somebody may have taken the name while the steps were done; from here on nobody does.
        self.check_name(&name, asked.replace, caller)?;
        let there = self.catalog().find(name.as_str());
        if let Some(kept) = there.ok().filter(|spec| spec.is_kept()) {
            self.refuse_while_used(kept).await?;
        }
        let taken = tokio::task::spawn_blocking(move || keeping.take(parts))
            .await
            .map_err(|error| broke(&error))?
            .map_err(catalog_failed)?;
        self.watched(caller, move |_, monitor| taken.publish(monitor))
            .await
    }
}

/// A disk that was built, and what it says about its programs.
struct Built {
    installed: Installed,
    config: Config,
}

fn final_config(resolved: &Resolved) -> Config {
    let last = resolved.stages.last();
    last.map(|stage| stage.config.clone()).unwrap_or_default()
}

/// What an environment says of its programs.
fn own_config(installed: &Installed) -> Config {
    let config = installed.image.as_ref().map(|image| image.config.clone());
    config.unwrap_or_default()
}

/// What the steps are done in.
fn guest_of(asked: &EnvBuild) -> Asked {
    Asked {
        isolation: asked.isolation,
        allow_host_compat: false,
        network: asked.network_policy.has_network(),
        keeps_files: true,
    }
}

fn facts_of(installed: &Installed, config: Config, kind: VmKind) -> BaseFacts {
    // Writing plain fields into memory has no way to fail.
    let text = serde_json::to_string(&config).unwrap_or_default();
    // A sandbox shows no capabilities of files, so what was done in one is not what a VM would have done.
    let text = format!("{}\n{text}", kind.name());
    BaseFacts {
        key: Key::of_environment(&installed.rootfs_digest, &text),
        config,
    }
}

fn left_out(context: &Context) -> Option<String> {
    let (first, count) = (context.special.first()?, context.special.len());
    Some(match count {
        1 => format!("`{first}` of the context is a socket, a pipe or a device, and was left out"),
        count => format!(
            "{count} sockets, pipes or devices of the context were left out, such as `{first}`"
        ),
    })
}
