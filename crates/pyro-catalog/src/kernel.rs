//! The kernel that environments share: its image, and the few modules a guest needs.
//!
//! Picking the modules out of Debian's package is `modules.rs`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{self, Stamp, check_stamp};
use crate::layout::{KERNEL_FILE, KERNEL_IMAGE_FILE, MODULE_ORDER_FILE, MODULES_DIR};
use crate::manifest::{self, KernelFile, KernelManifest, KernelName, SCHEMA};
use crate::partial::Partial;
use crate::{Catalog, CatalogError, digest};

/// A kernel in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    pub image: PathBuf,
    /// The `.ko` files, not compressed, and `order`, which lists them in load order.
    pub modules_dir: PathBuf,
    pub release: String,
    /// Over the image and the modules; bare hex.
    pub digest: String,
}

impl Kernel {
    pub(crate) fn at(dir: &Path, name: &KernelName) -> Self {
        Self {
            image: dir.join(KERNEL_IMAGE_FILE),
            modules_dir: dir.join(MODULES_DIR),
            release: name.release.clone(),
            digest: name.digest.clone(),
        }
    }
}

/// Compares a kernel with its manifest by stamps.
pub(crate) fn check(dir: &Path, name: &KernelName) -> Result<(), CatalogError> {
    for file in &read_manifest(dir, name)?.files {
        check_stamp(&dir.join(&file.path), file.stamp)?;
    }
    Ok(())
}

/// Compares a kernel with its digest.
pub(crate) fn verify(kernel: &Kernel) -> Result<(), CatalogError> {
    let dir = kernel.image.parent().unwrap_or(Path::new("/"));
    let files = hash_files(dir)?;
    let found = KernelManifest::digest_of(&kernel.release, &files);
    if found != kernel.digest {
        return Err(CatalogError::damaged(
            dir,
            format!("digest {}", kernel.digest),
            found,
        ));
    }
    Ok(())
}

/// Writes new stamps where only these differ.
pub(crate) fn restamp(dir: &Path, name: &KernelName) -> Result<(), CatalogError> {
    if check(dir, name).is_ok() {
        return Ok(());
    }
    let mut manifest = read_manifest(dir, name)?;
    manifest.files = hash_files(dir)?;
    let found = KernelManifest::digest_of(&name.release, &manifest.files);
    if found != name.digest {
        return Err(CatalogError::damaged(
            dir,
            format!("digest {}", name.digest),
            found,
        ));
    }
    manifest::write(&dir.join(KERNEL_FILE), &manifest)
}

fn read_manifest(dir: &Path, name: &KernelName) -> Result<KernelManifest, CatalogError> {
    let path = dir.join(KERNEL_FILE);
    let manifest: KernelManifest = manifest::read(&path)?;
    if manifest.digest != name.digest {
        return Err(CatalogError::damaged(
            &path,
            name.digest.clone(),
            manifest.digest,
        ));
    }
    Ok(manifest)
}

impl Catalog {
    /// Renames a freshly built kernel into the cache, unless it is there already.
    pub(crate) fn publish_kernel(
        &self,
        built: &Path,
        release: &str,
        partial: &Partial,
    ) -> Result<KernelName, CatalogError> {
        let files = hash_files(built)?;
        for file in &files {
            let path = built.join(&file.path);
            files::seal(&path).map_err(CatalogError::writing("seal", &path))?;
        }
        let name = KernelName {
            release: release.to_owned(),
            digest: KernelManifest::digest_of(release, &files),
        };
        let manifest = KernelManifest {
            schema_version: SCHEMA,
            release: name.release.clone(),
            digest: name.digest.clone(),
            files,
        };
        manifest::write(&built.join(KERNEL_FILE), &manifest)?;

        let dir = self.kernel_dir(&name);
        // Pulls of two environments may publish one kernel at once. The first rename wins,
        // as a directory with contents is not replaced; then the second finds it good.
        for attempt in 0.. {
            if check(&dir, &name).is_ok() || restamp(&dir, &name).is_ok() {
                break;
            }
            if dir.exists() {
                let aside = partial.path().join(format!("old-kernel-{attempt}"));
                let _ = fs::rename(&dir, aside);
            }
            match fs::rename(built, &dir) {
                Ok(()) => break,
                Err(error) if attempt < 3 && error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) => return Err(CatalogError::writing("publish", &dir)(error)),
            }
        }
        let parent = self.platform_dir();
        files::sync(&parent).map_err(CatalogError::writing("sync", &parent))?;
        Ok(name)
    }
}

/// The latest kernel of the cache that is whole.
pub(crate) fn latest(platform_dir: &Path) -> Option<KernelName> {
    let entries = fs::read_dir(platform_dir).ok()?.flatten();
    let kernels = entries.filter_map(|entry| {
        let dir = entry.path();
        let is_kernel = entry.file_name().to_string_lossy().starts_with("kernel-");
        let manifest: KernelManifest = is_kernel
            .then(|| manifest::read(&dir.join(KERNEL_FILE)).ok())
            .flatten()?;
        let name = KernelName {
            release: manifest.release,
            digest: manifest.digest,
        };
        // In a cache that was copied its digest tells.
        check(&dir, &name).or_else(|_| restamp(&dir, &name)).ok()?;
        let made = dir.join(KERNEL_FILE).metadata().ok()?.modified().ok()?;
        Some((made, name))
    });
    let latest = kernels.max_by_key(|(made, _)| *made);
    latest.map(|(_, name)| name)
}

/// The file names in a modules directory, in load order.
pub(crate) fn read_order(modules_dir: &Path) -> Result<Vec<String>, CatalogError> {
    let path = modules_dir.join(MODULE_ORDER_FILE);
    let text = fs::read_to_string(&path).map_err(missing_or_unreadable(&path))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Hashes the image, the order file, and the modules it lists.
fn hash_files(dir: &Path) -> Result<Vec<KernelFile>, CatalogError> {
    let mut paths = vec![
        KERNEL_IMAGE_FILE.to_owned(),
        format!("{MODULES_DIR}/{MODULE_ORDER_FILE}"),
    ];
    let order = read_order(&dir.join(MODULES_DIR))?;
    paths.extend(order.iter().map(|name| format!("{MODULES_DIR}/{name}")));
    let hash = |path: String| {
        let full = dir.join(&path);
        let bytes = fs::read(&full).map_err(missing_or_unreadable(&full))?;
        let stamp = Stamp::of(&full).map_err(missing_or_unreadable(&full))?;
        Ok(KernelFile {
            path,
            sha256: digest::of_bytes(&bytes),
            stamp,
        })
    };
    paths.into_iter().map(hash).collect()
}

fn missing_or_unreadable(path: &Path) -> impl FnOnce(io::Error) -> CatalogError + use<> {
    let path = path.to_owned();
    move |error| match error.kind() {
        io::ErrorKind::NotFound => CatalogError::damaged(&path, "a file", "none"),
        _ => CatalogError::reading("read", &path)(error),
    }
}
