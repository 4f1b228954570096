//! The cache folder and where things lie in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::builder::Builder;
use crate::debian::{DebianBuilder, DebianRunsc};
use crate::images::DiskWriter;
use crate::manifest::KernelName;
use crate::runsc::RunscSource;
use crate::{EnvironmentSpec, PLATFORM};

/// What the lock files of environments begin with.
pub(crate) const LOCK_PREFIX: &str = ".lock-";

/// A cache of built environments. Cheap to open and to clone; processes may share the folder.
#[derive(Clone)]
pub struct Catalog {
    cache_dir: PathBuf,
    pub(crate) builder: Arc<dyn Builder>,
    pub(crate) runsc_source: Arc<dyn RunscSource>,
    pub(crate) disk_writer: Option<Arc<dyn DiskWriter>>,
}

impl Catalog {
    /// Names the cache; looks at nothing yet.
    pub fn open(cache_dir: impl Into<PathBuf>) -> Self {
        Self::with_sources(
            cache_dir,
            Arc::new(DebianBuilder),
            Arc::new(DebianRunsc::default()),
        )
    }

    pub(crate) fn with_sources(
        cache_dir: impl Into<PathBuf>,
        builder: Arc<dyn Builder>,
        runsc_source: Arc<dyn RunscSource>,
    ) -> Self {
        let cache_dir = cache_dir.into();
        // Tools run in other folders, so a relative path would lead them astray.
        let cache_dir = std::path::absolute(&cache_dir).unwrap_or(cache_dir);
        Self {
            cache_dir,
            builder,
            runsc_source,
            disk_writer: None,
        }
    }

    /// Lets images be environments, too.
    pub fn with_disk_writer(mut self, writer: Arc<dyn DiskWriter>) -> Self {
        self.disk_writer = Some(writer);
        self
    }

    pub fn cache_dir(&self) -> &Path {
        &self.cache_dir
    }

    /// Where an environment is or would be installed.
    pub fn install_dir(&self, spec: &EnvironmentSpec) -> PathBuf {
        self.platform_dir().join(spec.dir_name())
    }

    pub(crate) fn platform_dir(&self) -> PathBuf {
        self.cache_dir.join(PLATFORM)
    }

    pub(crate) fn kernel_dir(&self, name: &KernelName) -> PathBuf {
        self.platform_dir().join(name.dir_name())
    }

    pub(crate) fn initramfs_dir(&self) -> PathBuf {
        self.platform_dir().join("initramfs")
    }

    /// Of the environment that has this subject.
    pub(crate) fn lock_path(&self, subject: &str) -> PathBuf {
        self.platform_dir().join(format!("{LOCK_PREFIX}{subject}"))
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("cache_dir", &self.cache_dir)
            .finish_non_exhaustive()
    }
}
