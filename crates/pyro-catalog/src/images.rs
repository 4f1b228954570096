//! Images as environments: found on this host, unpacked by the caller's part of the work, and made a disk like
//! every other one.

use std::fs;
use std::path::Path;

use pyro_oci::apply::{Applied, Limits};
use pyro_oci::registry::{Access, ImageName, Registry, Store, Watch};
use pyro_oci::{Digest, Image, Local, OciError, Reference, Room, Source};

use crate::builder::{Builder, Built, BuiltKernel};
use crate::catalog::LOCK_PREFIX;
use crate::environments::{IMAGE_PREFIX, KEPT_PREFIX};
use crate::files::Stamp;
use crate::layout::{ENVIRONMENT_FILE, ROOTFS_FILE};
use crate::manifest::{self, EnvironmentManifest, ImageRecord, KernelName};
use crate::monitor::report;
use crate::{
    Catalog, CatalogError, EnvironmentSpec, Installed, Phase, ProgressMonitor, disk_usage,
    environments, find, kept, kernel, namespace, tools,
};

/// How far a pull is when all has been fetched.
const FETCHED: f32 = 0.3;

/// Where blobs lie that registries sent.
pub(crate) const BLOBS_DIR: &str = "blobs";

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

    fn fetch(
        &self,
        image: &ImageName,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Image, CatalogError> {
        let access = Access::from_environment()?;
        let failed = |error| CatalogError::of_image(self.name, error);
        let watch = Download {
            name: self.name,
            monitor,
        };
        watch.say(
            0.0,
            format!("asking {} for {}", image.registry(), self.name),
        );
        let registry = Registry::new(image, &access).map_err(|error| failed(error.into()))?;
        let meant = registry.meant(&watch).map_err(failed)?;
        let store = self.catalog.blobs().map_err(failed)?;
        registry.fetch(&meant, &store, &watch).map_err(failed)
    }

    fn limits(&self) -> Limits {
        Limits {
            bytes: self.catalog.room_for_twice(),
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
        let failed = |source| CatalogError::of_image(name, source);
        let (image, stamp) = match self.reference {
            Reference::Local(local) => {
                report(monitor, Phase::Checking, 0.0, format!("reading {name}"));
                // Before it is read: a change meanwhile is one.
                let stamp = stamp(local).map_err(failed)?;
                let image = self.catalog.read_image(local, monitor).map_err(failed)?;
                (image, Some(stamp))
            }
            Reference::Registry(image) => (self.fetch(image, monitor)?, None),
        };
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

/// Between a registry and whoever waits for the image.
struct Download<'a> {
    name: &'static str,
    monitor: &'a dyn ProgressMonitor,
}

impl Download<'_> {
    fn say(&self, fraction: f32, message: String) {
        report(
            self.monitor,
            Phase::Downloading,
            fraction * FETCHED,
            message,
        );
    }
}

impl Watch for Download<'_> {
    fn progress(&self, done: u64, all: u64) {
        let mib = |bytes: u64| bytes >> 20;
        let message = format!("{}: {} of {} MiB", self.name, mib(done), mib(all));
        self.say(done as f32 / all.max(1) as f32, message);
    }

    fn is_stopped(&self) -> bool {
        self.monitor.cancelled()
    }
}

/// Of what changes when the image does.
fn stamp(reference: &Local) -> Result<Stamp, OciError> {
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
        let local = self.spec.image.as_ref().and_then(Reference::local);
        let (Some(local), Some(image)) = (local, &self.image) else {
            return true;
        };
        match stamp(local) {
            Ok(found) => Some(found) == image.source,
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
        monitor: &dyn ProgressMonitor,
    ) -> Result<Option<Installed>, CatalogError> {
        let spec = found.spec;
        let failed = |source| CatalogError::of_image(spec.name, source);
        let (Some(reference), Some(image)) = (&spec.image, &mut found.image) else {
            return Ok(Some(found));
        };
        let local = match reference {
            Reference::Local(local) => local,
            Reference::Registry(name) => {
                let watch = Download {
                    name: spec.name,
                    monitor,
                };
                let access = Access::from_environment()?;
                let registry = Registry::new(name, &access);
                let registry = registry.map_err(|error| failed(error.into()))?;
                let meant = registry.meant(&watch).map_err(failed)?;
                return Ok((meant.digest.to_string() == image.digest).then_some(found));
            }
        };
        let stamp = stamp(local).map_err(failed)?;
        let image_there = self.read_image(local, monitor).map_err(failed)?;
        let digest = image_there.digest.to_string();
        if digest != image.digest {
            return Ok(None);
        }
        let mut manifest = self.read_manifest(spec)?;
        if let Some(record) = &mut manifest.image {
            record.source = Some(stamp);
        }
        manifest::write(&found.manifest_path, &manifest)?;
        image.source = Some(stamp);
        Ok(Some(found))
    }

    /// The image of a file or a folder of this host.
    fn read_image(&self, local: &Local, monitor: &dyn ProgressMonitor) -> Result<Image, OciError> {
        let room = Room {
            folder: &self.platform_dir(),
            most_bytes: self.room_for_twice(),
            is_stopped: &|| monitor.cancelled(),
        };
        Source::open(local, &room)?.image()
    }

    /// Bytes of an image that there is room for as files and as a disk.
    fn room_for_twice(&self) -> u64 {
        let free = disk_usage::free_bytes(&self.platform_dir()).unwrap_or(u64::MAX);
        (free / 2).min(Limits::MOST_BYTES)
    }

    /// What registries sent.
    fn blobs(&self) -> Result<Store, OciError> {
        Store::at(&self.platform_dir().join(BLOBS_DIR))
    }

    /// Removes what registries sent and no installed image is made of; tells its bytes. Nobody may pull meanwhile.
    pub(crate) fn prune_blobs(&self) -> Result<u64, CatalogError> {
        let folder = self.platform_dir().join(BLOBS_DIR);
        if !folder.exists() {
            return Ok(0);
        }
        let images = self.all_installed().into_iter();
        let digests = images
            .filter(|installed| installed.spec.registry().is_some())
            .filter_map(|installed| installed.image)
            .filter_map(|image| Digest::parse(&image.digest).ok());
        let digests: Vec<Digest> = digests.collect();
        self.blobs()
            .and_then(|store| store.prune(&digests))
            .map_err(|error| CatalogError::of_image("an image of a registry", error))
    }

    /// The environments of the list, those that were kept under a name, and the images that are installed.
    pub fn all(&self) -> Vec<&'static EnvironmentSpec> {
        let named = |prefix| {
            let mut named = self.specs_of(prefix);
            named.retain(|spec| !spec.is_hidden());
            named
        };
        let kept = named(KEPT_PREFIX);
        let images = named(IMAGE_PREFIX);
        environments().iter().chain(kept).chain(images).collect()
    }

    /// What VMs can start from now, hidden ones included.
    pub fn all_installed(&self) -> Vec<Installed> {
        let all = self.all().into_iter().chain(self.hidden());
        all.filter_map(|spec| self.installed(spec).ok()?).collect()
    }

    /// Of the directories that begin so, sorted by name.
    pub(crate) fn specs_of(&self, prefix: &str) -> Vec<&'static EnvironmentSpec> {
        let mut specs: Vec<_> = self
            .names(prefix)
            .filter_map(|name| self.spec_of_directory(&name))
            .collect();
        specs.sort_by_key(|spec| spec.name);
        specs
    }

    /// The image, or the kept environment, that a directory is of.
    pub(crate) fn spec_of_directory(&self, dir_name: &str) -> Option<&'static EnvironmentSpec> {
        let is_image = dir_name.starts_with(IMAGE_PREFIX);
        if !is_image && !dir_name.starts_with(KEPT_PREFIX) {
            return None;
        }
        let path = self.platform_dir().join(dir_name).join(ENVIRONMENT_FILE);
        let manifest: EnvironmentManifest = manifest::read(&path).ok()?;
        let spec = match is_image {
            true => find(&manifest.name).ok().filter(|spec| spec.is_image())?,
            false => kept::spec(&manifest.name),
        };
        (spec.dir_name() == dir_name).then_some(spec)
    }

    /// Of the images and kept environments that somebody has made, or makes.
    pub(crate) fn subjects_of_directories(&self) -> Vec<String> {
        let locks = [IMAGE_PREFIX, KEPT_PREFIX]
            .into_iter()
            .flat_map(|prefix| self.names(&format!("{LOCK_PREFIX}{prefix}")));
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
