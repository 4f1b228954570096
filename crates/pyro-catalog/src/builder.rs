//! What makes the contents of an environment. A trait, so that tests need no Debian mirror.

use std::path::{Path, PathBuf};

use crate::manifest::{ImageRecord, KernelName};
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
    /// A list of what is inside, for people, where it can be known.
    pub(crate) packages: Option<PathBuf>,
    pub(crate) kernel: BuiltKernel,
    pub(crate) source: String,
    /// Which image it is made of.
    pub(crate) image: Option<ImageRecord>,
}

/// The kernel that the environment boots with.
#[derive(Debug)]
pub(crate) enum BuiltKernel {
    /// A directory laid out like a kernel's in the cache, without its manifest.
    New { dir: PathBuf, release: String },
    /// One that is in the cache.
    Cached(KernelName),
}
