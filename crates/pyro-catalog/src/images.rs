//! Images as environments: found on this host, unpacked by the caller's part of the work, and made a disk like
//! every other one.

use std::fs;
use std::path::Path;

use pyro_oci::apply::{Applied, Limits};
use pyro_oci::{Image, OciError, Reference, Source};

use crate::builder::{Builder, Built, BuiltKernel};
use crate::catalog::LOCK_PREFIX;
use crate::environments::IMAGE_PREFIX;
use crate::files::Stamp;
use crate::layout::{ENVIRONMENT_FILE, ROOTFS_FILE};
use crate::manifest::{self, EnvironmentManifest, ImageRecord, KernelName};
use crate::monitor::report;
use crate::{
    Catalog, CatalogError, EnvironmentSpec, Installed, Phase, ProgressMonitor, disk_usage,
    environments, find, kernel, namespace, tools,
};

/// The smallest one that brings a kernel.
const FOR_ITS_KERNEL: &str = "debian:12-base";

/// Makes a guest's disk of the layers of an image. The caller's, as it takes a program of the caller's that is
/// root of a user namespace.
pub trait DiskWriter: Send + Sync {
    /// Unpacks the layers somewhere below `folder`, which is empty and private, and writes the disk to `rootfs`
    /// in it. Nothing else of the folder is kept. Errors are in the caller's words.
    fn write(
        &self,
        image: &Image,
        limits: Limits,
        folder: &Path,
        rootfs: &Path,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Applied, Box<dyn std::error::Error + Send + Sync>>;
}

pub(crate) struct ImageBuilder<'a> {
    catalog: &'a Catalog,
    name: &'static str,
    reference: &'a Reference,
}

impl<'a> ImageBuilder<'a> {
    pub(crate) fn new(catalog: &'a Catalog, name: &'static str, reference: &'a Reference) -> Self {
        Self {
            catalog,
            name,
            reference,
        }
    }

    fn kernel(&self, monitor: &dyn ProgressMonitor) -> Result<KernelName, CatalogError> {
        let platform_dir = self.catalog.platform_dir();
        if let Some(kernel) = kernel::latest(&platform_dir) {
            return Ok(kernel);
        }
        let spec = find(FOR_ITS_KERNEL)?;
        self.catalog.ensure(spec, monitor)?;
        Ok(self.catalog.read_manifest(spec)?.kernel)
    }

    /// Bounded by what there is room for twice: as files, and as a disk.
    fn limits(&self) -> Limits {
        let free = disk_usage::free_bytes(&self.catalog.platform_dir()).unwrap_or(u64::MAX);
        Limits {
            bytes: (free / 2).min(Limits::MOST_BYTES),
            entries: Limits::MOST_ENTRIES,
        }
    }
}

impl Builder for ImageBuilder<'_> {
    fn prepare(&self) -> Result<(), CatalogError> {
        tools::require_for_image()?;
        namespace::user_namespaces()
    }

    fn build(
        &self,
        _spec: &'static EnvironmentSpec,
        folder: &Path,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Built, CatalogError> {
        let writer = self.catalog.disk_writer.as_ref();
        let writer = writer.ok_or(CatalogError::NoDiskWriter)?;
        let name = self.name;
        let failed = |source| CatalogError::Image { name, source };
        report(monitor, Phase::Checking, 0.0, format!("reading {name}"));
        // Before it is read: a change meanwhile is one.
        let stamp = stamp(self.reference).map_err(failed)?;
        let image = Source::open(self.reference)
            .and_then(|source| source.image())
            .map_err(failed)?;
        let kernel = self.kernel(monitor)?;
        let rootfs = folder.join(ROOTFS_FILE);
        let applied = writer
            .write(&image, self.limits(), folder, &rootfs, monitor)
            .map_err(|source| CatalogError::DiskWriter { name, source })?;
        Ok(Built {
            rootfs,
            packages: None,
            kernel: BuiltKernel::Cached(kernel),
            source: format!("{name}@{}", image.digest),
            image: Some(ImageRecord {
                digest: image.digest.to_string(),
                source: stamp,
                config: image.config,
                devices_left_out: applied.devices_left_out,
                attributes_left_out: applied.attributes_left_out,
            }),
        })
    }
}

/// Of what changes when the image does.
fn stamp(reference: &Reference) -> Result<Stamp, OciError> {
    let path = reference.index();
    Stamp::of(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => OciError::NotFound {
            what: "image",
            path: reference.path().to_owned(),
        },
        _ => OciError::Path { path, source },
    })
}

impl Installed {
    /// Whether the image that it was made of is still what it was, as far as a look at its file tells. One that is
    /// gone has not changed.
    pub fn is_current(&self) -> bool {
        let (Some(reference), Some(image)) = (&self.spec.image, &self.image) else {
            return true;
        };
        match stamp(reference) {
            Ok(found) => found == image.source,
            Err(OciError::NotFound { .. }) => true,
            Err(_) => false,
        }
    }
}

impl Catalog {
    /// What is installed, if its image turns out to be the same after all. The caller holds the lock.
    pub(crate) fn still_that_image(
        &self,
        mut found: Installed,
    ) -> Result<Option<Installed>, CatalogError> {
        let spec = found.spec;
        let failed = |source| CatalogError::Image {
            name: spec.name,
            source,
        };
        let (Some(reference), Some(image)) = (&spec.image, &mut found.image) else {
            return Ok(Some(found));
        };
        let stamp = stamp(reference).map_err(failed)?;
        let source = Source::open(reference).map_err(failed)?;
        let digest = source.image().map_err(failed)?.digest.to_string();
        if digest != image.digest {
            return Ok(None);
        }
        let mut manifest = self.read_manifest(spec)?;
        if let Some(record) = &mut manifest.image {
            record.source = stamp;
        }
        manifest::write(&found.manifest_path, &manifest)?;
        image.source = stamp;
        Ok(Some(found))
    }

    /// The environments of the list, and the images that are installed.
    pub fn all(&self) -> Vec<&'static EnvironmentSpec> {
        let mut images: Vec<_> = self
            .names(IMAGE_PREFIX)
            .filter_map(|name| self.spec_of_image(&name))
            .collect();
        images.sort_by_key(|spec| spec.name);
        environments().iter().chain(images).collect()
    }

    /// The image that a directory is of.
    pub(crate) fn spec_of_image(&self, dir_name: &str) -> Option<&'static EnvironmentSpec> {
        if !dir_name.starts_with(IMAGE_PREFIX) {
            return None;
        }
        let path = self.platform_dir().join(dir_name).join(ENVIRONMENT_FILE);
        let manifest: EnvironmentManifest = manifest::read(&path).ok()?;
        let spec = find(&manifest.name).ok()?;
        (spec.is_image() && spec.dir_name() == dir_name).then_some(spec)
    }

    /// Of the images that somebody has pulled, or does.
    pub(crate) fn subjects_of_images(&self) -> Vec<String> {
        let locks = self.names(&format!("{LOCK_PREFIX}{IMAGE_PREFIX}"));
        locks
            .map(|name| name[LOCK_PREFIX.len()..].to_owned())
            .collect()
    }

    fn names(&self, prefix: &str) -> impl Iterator<Item = String> + use<> {
        let prefix = prefix.to_owned();
        let entries = fs::read_dir(self.platform_dir()).into_iter().flatten();
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(move |name| name.starts_with(&prefix))
    }
}

#[cfg(test)]
mod tests;
