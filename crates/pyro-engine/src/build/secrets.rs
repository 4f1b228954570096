//! Secrets of a build: read when a step needs them, in the guest's memory while it runs, and redacted from what it
//! says. They are secrets of the hidden workspace, under names of their own.

use std::collections::BTreeMap;

use pyro_api::values::secrets::{SecretInput, SecretText};
use pyro_api::values::{BuildSecret, BuildSecretSource, SecretSource, Secrets};
use pyro_api::{Caller, Error, ErrorCode};
use pyro_build::resolve::{Action, Resolved, Step};

use crate::workspace::host_paths::admit;

/// What the caller gave, by id.
pub(super) struct BuildSecrets {
    given: BTreeMap<String, SecretSource>,
}

impl BuildSecrets {
    /// Refuses what this caller may not name. Files are read when a workspace is made.
    pub(super) async fn new(given: &[BuildSecret], caller: &Caller) -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        for secret in given {
            let source = match &secret.source {
                BuildSecretSource::File(path) => {
                    admit(path, caller).await?;
                    SecretSource::File(path.clone())
                }
                BuildSecretSource::Variable(_) if caller.is_model() => {
                    return Err(Error::new(
                        ErrorCode::Unsupported,
                        "Models may not take secrets from variables of this host",
                    )
                    .hint("Give the secret as a file: `id=ID,src=PATH`"));
                }
                BuildSecretSource::Variable(name) => {
                    let value = std::env::var(name).map_err(|_| {
                        Error::invalid(format!("The build secret `{}` cannot be read", secret.id))
                            .because(format!("the variable `{name}` is not set, or is no text"))
                    })?;
                    SecretSource::Literal(SecretText::from(value))
                }
            };
            all.insert(secret.id.clone(), source);
        }
        Ok(Self { given: all })
    }

    /// Refuses a build that lacks one that it needs.
    pub(super) fn check(&self, resolved: &Resolved, file: &str) -> Result<(), Error> {
        for step in resolved.stages.iter().flat_map(|stage| &stage.steps) {
            let Action::Run(run) = &step.action else {
                continue;
            };
            let missing = run
                .secrets
                .iter()
                .find(|secret| secret.required && !self.given.contains_key(&secret.id));
            if let Some(secret) = missing {
                let id = &secret.id;
                return Err(Error::invalid(format!("`{file}` cannot be built"))
                    .because(format!("{}: it requires the secret `{id}`", step.at))
                    .hint(format!(
                        "Give it as `--secret id={id},src=PATH` (`build_secrets`)"
                    )));
            }
        }
        Ok(())
    }

    /// What a workspace is given that these steps run in.
    pub(super) fn of_steps(&self, steps: &[Step]) -> Secrets {
        let mut ids: Vec<&str> = Vec::new();
        for step in steps {
            if let Action::Run(run) = &step.action {
                ids.extend(run.secrets.iter().map(|secret| secret.id.as_str()));
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let given = ids.into_iter().filter_map(|id| {
            let source = self.given.get(id)?.clone();
            let name = self.name(id)?;
            Some(SecretInput { name, source })
        });
        Secrets::of(given.collect())
    }

    /// What a secret is called in the workspace, where ids cannot be names.
    pub(super) fn name(&self, id: &str) -> Option<String> {
        let number = self.given.keys().position(|known| known == id)?;
        Some(format!("BUILD_{number}"))
    }
}
