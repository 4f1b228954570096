//! Environments of the catalog as the contract shows them, and pulling one with its progress told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyro_api::values::Environment;
use pyro_api::{Caller, Error, ErrorCode, Event};
use pyro_catalog::{Catalog, CatalogError, EnvironmentSpec, Installed, ProgressMonitor, Step};
use tokio::sync::mpsc;

use crate::engine::Engine;
use crate::error::{cancelled, catalog_failed};
use crate::image_config;
use crate::workspace::host_paths::admit;

impl Engine {
    /// Describes an environment from the outcome of a check.
    pub(crate) fn describe(
        &self,
        spec: &EnvironmentSpec,
        installed: Result<Option<Installed>, CatalogError>,
    ) -> Environment {
        let catalog = self.catalog();
        let (installed, problem) = match installed {
            Ok(installed) => (installed, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let image = installed.as_ref().and_then(|it| it.image.as_ref());
        let image = image.map(image_config::described);
        let distribution = match (spec.is_image(), spec.is_kept()) {
            (true, _) => "oci",
            (_, true) => "kept",
            (false, false) => pyro_catalog::DISTRIBUTION,
        };
        Environment {
            name: spec.name.to_owned(),
            version: match (&installed, spec.is_image()) {
                (
                    Some(Installed {
                        image: Some(image), ..
                    }),
                    true,
                ) => image.digest.clone(),
                (Some(kept), false) if spec.is_kept() => kept.rootfs_digest.clone(),
                _ => spec.version.to_owned(),
            },
            description: match &installed {
                Some(kept) if spec.is_kept() => format!("Kept: {}.", kept.source),
                _ => spec.description.to_owned(),
            },
            created_at: installed.as_ref().map(|it| it.created_at.clone()),
            disk_bytes: installed.as_ref().map(|_| catalog.disk_bytes(spec)),
            made_from: installed.as_ref().map(|it| it.source.clone()),
            default_packages: spec
                .default_packages
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
            distribution: distribution.to_owned(),
            distribution_version: spec.distribution_version().to_owned(),
            platform: pyro_catalog::PLATFORM.to_owned(),
            oci_registry: spec.registry().map(|name| name.registry().to_owned()),
            oci_repository: spec.registry().map(|name| name.repository().to_owned()),
            oci_reference: spec.is_image().then(|| spec.name.to_owned()),
            source_digest: installed.as_ref().map(|it| it.rootfs_digest.clone()),
            compatibility: pyro_catalog::COMPATIBILITY.to_owned(),
            catalog_version: pyro_catalog::CATALOG_VERSION.to_owned(),
            installed: installed.is_some(),
            cache_dir: catalog.cache_dir().display().to_string(),
            install_dir: catalog.install_dir(spec).display().to_string(),
            install_manifest: installed.map(|it| it.manifest_path.display().to_string()),
            problem,
            image,
        }
    }

    pub(crate) fn environments(&self) -> Vec<Environment> {
        self.catalog()
            .all()
            .into_iter()
            .map(|spec| self.describe(spec, self.catalog().installed(spec)))
            .collect()
    }

    /// The environment of a name that a caller gave. A model may name an image where it may name the file, and one of
    /// a registry when it is here: a registry that is asked is a place of the network, and hears what for.
    pub(crate) async fn named(
        &self,
        name: &str,
        caller: &Caller,
    ) -> Result<&'static EnvironmentSpec, Error> {
        let spec = self.catalog().find(name).map_err(catalog_failed)?;
        if let Some(path) = spec.local_path() {
            admit(path, caller).await?;
        }
        let is_here = || matches!(self.catalog().installed(spec), Ok(Some(_)));
        if caller.is_model() && spec.registry().is_some() && !is_here() {
            return Err(Error::new(
                ErrorCode::Unsupported,
                format!(
                    "`{}` is not here, and models may not pull images",
                    spec.name
                ),
            )
            .because("a registry would learn what it is asked for, whatever networks are allowed")
            .hint(format!(
                "Ask the person to run `pyro env pull {}`, or take an environment that \
                 `vm_list_environments` has",
                spec.name
            )));
        }
        Ok(spec)
    }

    /// The installed environment; pulled first when it is not there, which may take a minute.
    pub(crate) async fn ensure(
        &self,
        spec: &'static EnvironmentSpec,
        caller: &Caller,
    ) -> Result<Installed, Error> {
        if let Ok(Some(installed)) = self.catalog().installed(spec)
            && installed.is_current()
        {
            return Ok(installed);
        }
        self.pulling(spec, caller, Catalog::ensure).await
    }

    /// Lets the catalog make an environment, with the beginning and the end of it told to the caller.
    pub(crate) async fn pulling(
        &self,
        spec: &'static EnvironmentSpec,
        caller: &Caller,
        work: fn(
            &Catalog,
            &'static EnvironmentSpec,
            &dyn ProgressMonitor,
        ) -> Result<Installed, CatalogError>,
    ) -> Result<Installed, Error> {
        phase(caller, "install", spec)?;
        let installed = self
            .watched(caller, move |catalog, monitor| work(catalog, spec, monitor))
            .await?;
        // Those of an image that this one took the place of.
        self.prune_trees();
        phase(caller, "ready", spec)?;
        Ok(installed)
    }

    /// Lets the catalog work on a thread of its own and tells its progress to the caller.
    pub(crate) async fn watched<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce(&Catalog, &dyn ProgressMonitor) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, Error> {
        let (steps, mut progress) = mpsc::unbounded_channel();
        let watch = Progress {
            steps,
            cancelled: Arc::default(),
        };
        let _cancel = CancelOnDrop(Arc::clone(&watch.cancelled));
        let catalog = Arc::clone(self.catalog());
        let mut working =
            tokio::task::spawn_blocking(move || work(&catalog, &watch).map_err(catalog_failed));
        loop {
            tokio::select! {
                Some(event) = progress.recv() => caller.emit(event).map_err(|_| cancelled())?,
                done = &mut working => {
                    return done.map_err(|error| {
                        Error::new(ErrorCode::Internal, "The pull failed unexpectedly").caused_by(&error)
                    })?;
                }
            }
        }
    }
}

fn phase(caller: &Caller, phase: &'static str, spec: &EnvironmentSpec) -> Result<(), Error> {
    caller
        .emit(Event::Phase {
            scope: "pull",
            phase,
            fields: vec![("environment", spec.name.to_owned())],
        })
        .map_err(|_| cancelled())
}

struct Progress {
    steps: mpsc::UnboundedSender<Event<'static>>,
    cancelled: Arc<AtomicBool>,
}

impl ProgressMonitor for Progress {
    fn progress(&self, step: &Step) {
        let _ = self.steps.send(Event::Progress {
            message: step.message.clone(),
            fraction: step.fraction,
        });
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The version that an environment has in the catalog of today; images and kept ones have none.
pub(crate) fn version(spec: &EnvironmentSpec) -> Option<String> {
    (!spec.is_image() && !spec.is_kept()).then(|| spec.version.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use pyro_api::{Folders, Networks};

    use super::*;
    use crate::Config;

    #[tokio::test]
    async fn a_model_names_no_image_that_it_may_not_read_or_have_pulled() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::from_environment().unwrap();
        config.cache_dir = folder.path().join("cache");
        let engine = Engine::new(config);
        let folders = Folders::Only {
            folders: [PathBuf::from(folder.path())].into(),
            named_by: "A_SETTING",
        };
        let model = Caller::new().for_model(folders, Networks::Allowed);
        let refusal = async |name: &str| engine.named(name, &model).await.unwrap_err().to_string();
        let inside = format!("oci:{}/image", folder.path().display());
        assert!(engine.named(&inside, &model).await.is_ok());
        assert!(engine.named("debian:12", &model).await.is_ok());
        assert!(
            refusal("oci-archive:/etc/passwd")
                .await
                .contains("is outside the folders")
        );
        assert!(
            refusal("localhost:1/x")
                .await
                .contains("models may not pull images")
        );
        assert!(engine.named("localhost:1/x", &Caller::new()).await.is_ok());
    }
}
