use std::path::{Path, PathBuf};

use async_trait::async_trait;
use pyro_api::operations::env_create::KeptEnvironment;
use pyro_api::operations::env_import::EnvImport;
use pyro_api::{Caller, Error, ErrorCode, Handle};
use pyro_catalog::{EnvironmentSpec, KeptName};
use pyro_oci::Reference;

use crate::Engine;
use crate::error::{broke, catalog_failed, image_failed};
use crate::workspace::host_paths::admit;

#[async_trait]
impl Handle<EnvImport> for Engine {
    async fn handle(&self, asked: EnvImport, caller: &Caller) -> Result<KeptEnvironment, Error> {
        let name = KeptName::parse(&asked.environment).map_err(catalog_failed)?;
        let spec = self.to_import(&asked.source, caller).await?;
        let replace = asked.replace;
        // Refused before anything is unpacked for nothing.
        let keeping = self
            .watched(caller, move |catalog, monitor| {
                catalog.keeping(&name, replace, monitor)
            })
            .await?;
        self.refuse_while_used(keeping.spec()).await?;
        let was_here = matches!(self.catalog().installed(spec), Ok(Some(_)));
        self.ensure(spec, caller).await?;
        // Whoever imports it under another name may remove it right now.
        let (taken, made_again) = self
            .watched(caller, move |_, monitor| {
                keeping.take_installed(spec, monitor)
            })
            .await?;
        // A guest may have been made of the other one meanwhile.
        self.refuse_while_used(taken.spec()).await?;
        let kept = self
            .watched(caller, move |_, monitor| taken.publish(monitor))
            .await?;
        let is_ours = !was_here || made_again;
        if is_ours && self.users_of(&self.catalog().install_dir(spec))?.is_empty() {
            // Its files have another name now. What cannot be removed goes with the next prune after its file.
            let _ = self.catalog().delete_environment(spec);
        }
        Ok(KeptEnvironment {
            environment: self.describe(kept.spec, Ok(Some(kept))),
        })
    }
}

impl Engine {
    /// The image that is meant: named as elsewhere, or a path.
    async fn to_import(
        &self,
        source: &str,
        caller: &Caller,
    ) -> Result<&'static EnvironmentSpec, Error> {
        match Reference::parse(source) {
            Ok(Reference::Local(_)) => return self.named(source, caller).await,
            // `app.tar` could be either.
            Ok(Reference::Registry(_)) if !Path::new(source).exists() => {
                return Err(Error::new(
                    ErrorCode::Unsupported,
                    format!("`{source}` is an image of a registry, and only files are imported"),
                )
                .hint(format!(
                    "Name it where an environment is asked for, or `pyro env pull {source}`"
                )));
            }
            _ => {}
        }
        let path = PathBuf::from(source);
        admit(&path, caller).await?;
        let name = source.to_owned();
        let reference = tokio::task::spawn_blocking(move || {
            let home = pyro_transfer::host_paths::home();
            let path = pyro_transfer::host_paths::expand_home(&path, home.as_deref());
            pyro_oci::reference_of(&path)
        })
        .await
        .map_err(|error| broke(&error))?
        .map_err(|error| image_failed(&name, &error))?;
        self.named(&reference.to_string(), caller).await
    }
}
