//! Brings an environment into the cache: under a lock, in a partial directory, then by rename.
//!
//! What goes into it is a [`crate::builder::Builder`]'s business.

use std::fs;
use std::path::Path;

use crate::builder::{Builder, BuiltKernel};
use crate::files::{self, Stamp};
use crate::images::ImageBuilder;
use crate::installed::image_digest;
use crate::layout::{ENVIRONMENT_FILE, ROOTFS_FILE};
use crate::lock::Lock;
use crate::manifest::{self, EnvironmentManifest, SCHEMA};
use crate::monitor::report;
use crate::partial::{self, Partial};
use crate::{
    CATALOG_VERSION, Catalog, CatalogError, EnvironmentSpec, Installed, PLATFORM, Phase,
    ProgressMonitor, Step, disk_usage, full_disk,
};

impl Catalog {
    /// Makes sure that an environment is installed and that its bytes are right.
    pub fn pull(
        &self,
        spec: &'static EnvironmentSpec,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Installed, CatalogError> {
        let intact = match self.installed(spec) {
            Ok(Some(found)) => {
                report(
                    monitor,
                    Phase::Checking,
                    0.0,
                    format!("checking {}", spec.name),
                );
                self.verify_found(found, monitor).map(Some)
            }
            other => other,
        };
        // What a registry means by a name is asked for anew, unless the name is the image's digest.
        let ask = spec.registry().is_some_and(|name| !name.is_pinned());
        self.pull_unless_intact(spec, monitor, intact, ask)
    }

    /// Makes sure that an environment is installed, believing its stamps.
    ///
    /// This is on the path of each run: when installed, it takes no lock and writes nothing.
    pub fn ensure(
        &self,
        spec: &'static EnvironmentSpec,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Installed, CatalogError> {
        let intact = self.installed(spec);
        self.pull_unless_intact(spec, monitor, intact, false)
    }

    fn pull_unless_intact(
        &self,
        spec: &'static EnvironmentSpec,
        monitor: &dyn ProgressMonitor,
        found: Result<Option<Installed>, CatalogError>,
        ask: bool,
    ) -> Result<Installed, CatalogError> {
        let damaged = match found {
            Ok(Some(found)) if found.is_current() && !ask => return Ok(found),
            Ok(Some(_)) => false,
            Ok(None) => false,
            Err(CatalogError::Damaged { .. }) => true,
            Err(other) => return Err(other),
        };
        let platform_dir = self.platform_dir();
        fs::create_dir_all(&platform_dir)
            .map_err(CatalogError::writing("create", &platform_dir))?;
        let (_lock, waited) = Lock::acquire(&self.lock_path(&spec.subject()), monitor, &|| {
            monitor.progress(&Step {
                phase: Phase::Waiting,
                message: format!("another pyro is pulling {}, waiting", spec.name),
                fraction: None,
            });
        })?;
        partial::remove_dead(&platform_dir, &spec.subject());

        // It may have been built or repaired while we waited, or between look and lock.
        match self.installed(spec) {
            Ok(Some(found)) if ask || !found.is_current() => {
                if let Some(found) = self.still_that_image(found, monitor)? {
                    return Ok(found);
                }
            }
            Ok(Some(found)) if waited || !damaged => return Ok(found),
            Ok(None) => {}
            Ok(Some(_)) | Err(CatalogError::Damaged { .. }) => {
                report(
                    monitor,
                    Phase::Checking,
                    0.0,
                    format!("checking {}", spec.name),
                );
                match self.restamp(spec, monitor) {
                    Err(CatalogError::Damaged { .. }) if !spec.is_kept() => {}
                    settled => return settled,
                }
            }
            Err(other) => return Err(other),
        }
        self.build(spec, monitor)
    }

    /// Builds and publishes. The caller holds the lock.
    fn build(
        &self,
        spec: &'static EnvironmentSpec,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Installed, CatalogError> {
        if monitor.cancelled() {
            return Err(CatalogError::Cancelled);
        }
        if spec.is_kept() {
            return Err(CatalogError::NotKept { name: spec.name });
        }
        let of_image;
        let builder: &dyn Builder = match &spec.image {
            None => &*self.builder,
            Some(reference) => {
                of_image = ImageBuilder::new(self, spec.name, reference);
                &of_image
            }
        };
        builder.prepare()?;
        let platform_dir = self.platform_dir();
        let free = disk_usage::free_bytes(&platform_dir).unwrap_or(u64::MAX);
        if free < spec.build_bytes {
            return Err(CatalogError::no_space(&platform_dir, spec.build_bytes));
        }
        let partial = Partial::create(&platform_dir, &spec.subject())?;
        let built = self
            .build_in(spec, builder, &partial, monitor)
            .map_err(|error| full_disk::or_no_space(error, spec.build_bytes, &platform_dir));
        built.inspect_err(|_| drop(partial))
    }

    fn build_in(
        &self,
        spec: &'static EnvironmentSpec,
        builder: &dyn Builder,
        partial: &Partial,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Installed, CatalogError> {
        let built = builder.build(spec, &partial.folder("build")?, monitor)?;
        report(monitor, Phase::Publishing, 0.92, "hashing the image");
        let kernel = match &built.kernel {
            BuiltKernel::New { dir, release } => self.publish_kernel(dir, release, partial)?,
            BuiltKernel::Cached(name) => name.clone(),
        };

        let fresh = partial.folder("install")?;
        let rootfs = fresh.join(ROOTFS_FILE);
        let packages = fresh.join("packages.txt");
        let packages = built.packages.as_ref().map(|built| (built, &packages));
        let files = [Some((&built.rootfs, &rootfs)), packages];
        for (from, to) in files.iter().flatten() {
            fs::rename(from, to).map_err(CatalogError::writing("move", to))?;
        }
        let rootfs_digest = image_digest(&rootfs, monitor)?;
        report(monitor, Phase::Publishing, 0.96, "writing to disk");
        for (_, path) in files.iter().flatten() {
            files::seal(path).map_err(CatalogError::writing("seal", path))?;
        }
        let manifest = EnvironmentManifest {
            schema_version: SCHEMA,
            catalog_version: CATALOG_VERSION.to_owned(),
            name: spec.name.to_owned(),
            version: spec.version.to_owned(),
            platform: PLATFORM.to_owned(),
            source: built.source,
            rootfs_digest,
            rootfs: Stamp::of(&rootfs).map_err(CatalogError::reading("access", &rootfs))?,
            layers: Vec::new(),
            kernel,
            created_at: manifest::now(),
            image: built.image,
        };
        manifest::write(&fresh.join(ENVIRONMENT_FILE), &manifest)?;
        if monitor.cancelled() {
            return Err(CatalogError::Cancelled);
        }

        self.publish(spec, &fresh, partial)
    }

    /// Puts a directory that is all there to its place; what was there goes. The caller holds the lock.
    pub(crate) fn publish(
        &self,
        spec: &'static EnvironmentSpec,
        fresh: &Path,
        partial: &Partial,
    ) -> Result<Installed, CatalogError> {
        let install_dir = self.install_dir(spec);
        let placed = match install_dir.symlink_metadata().is_ok() {
            true => partial.replace(&install_dir, fresh),
            false => fs::rename(fresh, &install_dir),
        };
        placed.map_err(CatalogError::writing("publish", &install_dir))?;
        let parent = self.platform_dir();
        files::sync(&parent).map_err(CatalogError::writing("sync", &parent))?;
        self.installed(spec)?
            .ok_or(CatalogError::NotInstalled { name: spec.name })
    }
}

#[cfg(test)]
mod tests;
