//! What makes the contents of an environment. A trait, so that tests need no Debian mirror.

use std::path::{Path, PathBuf};

use crate::{CatalogError, EnvironmentSpec, ProgressMonitor};

/// Makes the contents of an environment.
pub(crate) trait Builder: Send + Sync {
    /// Looks for what the build would miss later on, before anything is created.
    fn prepare(&self) -> Result<(), CatalogError>;

    /// Builds below `folder`, which is empty and removed afterwards.
    fn build(
        &self,
        spec: &'static EnvironmentSpec,
        folder: &Path,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Built, CatalogError>;
}

/// What a [`Builder`] made, all of it below the folder it was given.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) rootfs: PathBuf,
    /// A list of what is inside, for people.
    pub(crate) packages: PathBuf,
    /// A directory laid out like a kernel's in the cache, without its manifest.
    pub(crate) kernel: PathBuf,
    pub(crate) kernel_release: String,
    pub(crate) source: String,
}
