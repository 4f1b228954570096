//! Where a `runsc` comes from. A trait, so that tests need neither Debian nor the host's PATH.

use std::path::{Path, PathBuf};

use crate::{CatalogError, ProgressMonitor};

/// What there is beside the cache.
pub(crate) trait RunscSource: Send + Sync {
    /// Where a `runsc` of the host may be; absolute.
    fn on_path(&self) -> Vec<PathBuf>;

    /// Looks for what a fetch would miss later on, before anything is created.
    fn prepare(&self) -> Result<(), CatalogError>;

    /// Fetches the archive's present one below `folder`, which is empty and removed afterwards.
    fn fetch(&self, folder: &Path, monitor: &dyn ProgressMonitor) -> Result<Fetched, CatalogError>;
}

/// What was fetched and verified, all of it below the folder that was given.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) program: PathBuf,
    /// The package's licences.
    pub(crate) copyright: PathBuf,
    /// The version of the package.
    pub(crate) package: String,
    /// Like `debian-packages://deb.debian.org/debian/bookworm-backports`.
    pub(crate) source: String,
}
