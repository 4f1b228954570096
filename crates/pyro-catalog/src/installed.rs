//! What is installed, and whether it is still what its manifest says.
//!
//! Two checks: stamps (size, time, inode), in microseconds, at each use; and digests, in
//! fractions of a second, when asked or when the stamps differ.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use pyro_oci::Config;

use crate::files::{Stamp, check_size, check_stamp};
use crate::layout::{ENVIRONMENT_FILE, ROOTFS_FILE};
use crate::manifest::{self, EnvironmentManifest, ImageRecord};
use crate::{
    Catalog, CatalogError, EnvironmentSpec, Kernel, NoMonitor, ProgressMonitor, digest, kernel,
};

/// An environment that can be booted.
#[derive(Debug, Clone)]
pub struct Installed {
    pub spec: &'static EnvironmentSpec,
    pub install_dir: PathBuf,
    pub manifest_path: PathBuf,
    /// A read-only ext4 image.
    pub rootfs: PathBuf,
    /// Frozen qcow2 layers that are on it, bottom first. Only a kept environment has any.
    pub layers: Vec<PathBuf>,
    /// Of the whole disk; bare hex.
    pub rootfs_digest: String,
    /// The size of the disk that the guest sees; the file is sparse.
    pub virtual_size: u64,
    pub kernel: Kernel,
    /// Where its contents came from, like `debian-packages://deb.debian.org/debian/bookworm`.
    pub source: String,
    /// RFC 3339, in UTC.
    pub created_at: String,
    /// The image that it is made of, if it is.
    pub image: Option<InstalledImage>,
}

/// What is known of an image that was unpacked.
#[derive(Debug, Clone)]
pub struct InstalledImage {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    pub config: Config,
    /// What the image has and its disk has not.
    pub devices_left_out: u64,
    pub attributes_left_out: u64,
    pub(crate) source: Option<Stamp>,
}

impl From<ImageRecord> for InstalledImage {
    fn from(record: ImageRecord) -> Self {
        Self {
            digest: record.digest,
            config: record.config,
            devices_left_out: record.devices_left_out,
            attributes_left_out: record.attributes_left_out,
            source: record.source,
        }
    }
}

impl Catalog {
    /// Looks whether an environment is installed, by stamps only.
    ///
    /// `Damaged` when the manifest says other than the disk: [`Catalog::pull`] repairs that.
    pub fn installed(
        &self,
        spec: &'static EnvironmentSpec,
    ) -> Result<Option<Installed>, CatalogError> {
        let install_dir = self.install_dir(spec);
        match fs::symlink_metadata(&install_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A place one may not even look into is no place for a cache.
            Err(error) => return Err(CatalogError::writing("access", &install_dir)(error)),
            Ok(_) => {}
        }
        let manifest = self.read_manifest(spec)?;
        let found = self.describe(spec, &manifest);
        kernel::check(&self.kernel_dir(&manifest.kernel), &manifest.kernel)?;
        check_stamp(&found.rootfs, manifest.rootfs)?;
        for (path, layer) in found.layers.iter().zip(&manifest.layers) {
            check_stamp(path, layer.stamp)?;
        }
        Ok(Some(found))
    }

    /// Compares what is installed with its digests, byte by byte, whatever its stamps are.
    pub fn verify(&self, spec: &'static EnvironmentSpec) -> Result<Installed, CatalogError> {
        if !self.install_dir(spec).exists() {
            return Err(CatalogError::NotInstalled { name: spec.name });
        }
        let manifest = self.read_manifest(spec)?;
        let found = self.describe(spec, &manifest);
        // Of a cut-off image its length says more than a digest does.
        check_size(&found.rootfs, manifest.rootfs)?;
        for (path, layer) in found.layers.iter().zip(&manifest.layers) {
            check_size(path, layer.stamp)?;
        }
        self.verify_found(found, &NoMonitor)
    }

    pub(crate) fn verify_found(
        &self,
        found: Installed,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Installed, CatalogError> {
        kernel::verify(&found.kernel)?;
        let manifest = self.read_manifest(found.spec)?;
        let same = |path: &Path, expected: &str, actual: String| match actual == expected {
            true => Ok(()),
            false => {
                let expected = format!("digest {expected}");
                Err(CatalogError::damaged(path, expected, actual))
            }
        };
        let actual = image_digest(&found.rootfs, monitor)?;
        same(&found.rootfs, &manifest.rootfs_digest, actual)?;
        for (path, layer) in found.layers.iter().zip(&manifest.layers) {
            if monitor.cancelled() {
                return Err(CatalogError::Cancelled);
            }
            same(path, &layer.digest, layer_digest(path)?)?;
        }
        Ok(found)
    }

    /// Accepts an image whose stamps differ but whose digests are right, as after a copy or
    /// a restore of the cache, and writes its new stamps. The caller holds the lock.
    pub(crate) fn restamp(
        &self,
        spec: &'static EnvironmentSpec,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Installed, CatalogError> {
        let mut manifest = self.read_manifest(spec)?;
        let found = self.describe(spec, &manifest);
        kernel::restamp(&self.kernel_dir(&manifest.kernel), &manifest.kernel)?;
        let found = self.verify_found(found, monitor)?;
        manifest.rootfs =
            Stamp::of(&found.rootfs).map_err(CatalogError::reading("access", &found.rootfs))?;
        for (path, layer) in found.layers.iter().zip(&mut manifest.layers) {
            layer.stamp = Stamp::of(path).map_err(CatalogError::reading("access", path))?;
        }
        manifest::write(&found.manifest_path, &manifest)?;
        Ok(found)
    }

    pub(crate) fn read_manifest(
        &self,
        spec: &EnvironmentSpec,
    ) -> Result<EnvironmentManifest, CatalogError> {
        let path = self.install_dir(spec).join(ENVIRONMENT_FILE);
        let manifest: EnvironmentManifest = manifest::read(&path)?;
        if manifest.name != spec.name || manifest.version != spec.version {
            return Err(CatalogError::damaged(
                &path,
                format!("{} {}", spec.name, spec.version),
                format!("{} {}", manifest.name, manifest.version),
            ));
        }
        Ok(manifest)
    }

    fn describe(
        &self,
        spec: &'static EnvironmentSpec,
        manifest: &EnvironmentManifest,
    ) -> Installed {
        let install_dir = self.install_dir(spec);
        Installed {
            spec,
            manifest_path: install_dir.join(ENVIRONMENT_FILE),
            rootfs: install_dir.join(ROOTFS_FILE),
            layers: manifest
                .layers
                .iter()
                .map(|layer| install_dir.join(&layer.file))
                .collect(),
            install_dir,
            rootfs_digest: manifest.disk_digest(),
            virtual_size: manifest.rootfs.size,
            kernel: Kernel::at(&self.kernel_dir(&manifest.kernel), &manifest.kernel),
            source: manifest.source.clone(),
            created_at: manifest.created_at.clone(),
            image: manifest.image.clone().map(Into::into),
        }
    }
}

pub(crate) fn image_digest(
    path: &Path,
    monitor: &dyn ProgressMonitor,
) -> Result<String, CatalogError> {
    let read = |path: &Path| digest::of_image(&File::open(path)?, &|| monitor.cancelled());
    digest_or_damage(path, read(path))
}

/// Of a qcow2 layer.
pub(crate) fn layer_digest(path: &Path) -> Result<String, CatalogError> {
    let read = |path: &Path| digest::of_layer(&File::open(path)?, &|| false);
    digest_or_damage(path, read(path))
}

fn digest_or_damage(path: &Path, read: io::Result<Option<String>>) -> Result<String, CatalogError> {
    match read {
        Ok(Some(digest)) => Ok(digest),
        Ok(None) => Err(CatalogError::Cancelled),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(CatalogError::damaged(path, "a file", "none"))
        }
        Err(error) => Err(CatalogError::reading("read", path)(error)),
    }
}
