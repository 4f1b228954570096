//! A `runsc` in the cache: its manifest, and how it gets there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::release::Release;
use super::source::Fetched;
use super::{Runsc, RunscOrigin};
use crate::files::{self, Stamp, check_stamp};
use crate::layout::{RUNSC_FILE, RUNSC_PROGRAM_FILE};
use crate::manifest::{self, RunscManifest, SCHEMA};
use crate::monitor::report;
use crate::partial::Partial;
use crate::{Catalog, CatalogError, Phase, ProgressMonitor, digest};

/// What the names of their directories begin with.
pub(crate) const PREFIX: &str = "runsc-";

/// One whose stamps are right.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) dir_name: String,
    pub(crate) release: Release,
    pub(crate) runsc: Runsc,
}

impl Catalog {
    /// The latest intact one.
    pub(crate) fn newest_runsc_package(&self) -> Option<Package> {
        let names = self.runsc_package_names().into_iter();
        let packages = names.filter_map(|name| self.check_runsc_package(&name).ok());
        // Of two builds of one release the same is always taken.
        packages.max_by(|a, b| (a.release, &a.dir_name).cmp(&(b.release, &b.dir_name)))
    }

    fn runsc_package_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.platform_dir())
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with(PREFIX))
            .collect()
    }

    /// Compares a package with its manifest by stamps.
    fn check_runsc_package(&self, name: &str) -> Result<Package, CatalogError> {
        let dir = self.platform_dir().join(name);
        let manifest: RunscManifest = manifest::read(&dir.join(RUNSC_FILE))?;
        let program = dir.join(RUNSC_PROGRAM_FILE);
        check_stamp(&program, manifest.stamp)?;
        package(name, program, &manifest)
    }

    /// Accepts packages whose stamps differ but whose digests are right, as after a copy of the
    /// cache. The caller holds the lock.
    pub(crate) fn restamp_runsc_packages(&self) {
        for name in self.runsc_package_names() {
            if matches!(
                self.check_runsc_package(&name),
                Err(CatalogError::Damaged { .. })
            ) {
                let _ = self.restamp_runsc_package(&name);
            }
        }
    }

    fn restamp_runsc_package(&self, name: &str) -> Result<(), CatalogError> {
        let dir = self.platform_dir().join(name);
        let path = dir.join(RUNSC_FILE);
        let mut manifest: RunscManifest = manifest::read(&path)?;
        let program = dir.join(RUNSC_PROGRAM_FILE);
        let (found, stamp) = hash(&program)?;
        if found != manifest.digest {
            let expected = format!("digest {}", manifest.digest);
            return Err(CatalogError::damaged(&program, expected, found));
        }
        manifest.stamp = stamp;
        manifest::write(&path, &manifest)
    }

    /// Brings what was fetched into the cache. The caller holds the lock.
    pub(crate) fn publish_runsc(
        &self,
        fetched: &Fetched,
        partial: &Partial,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Package, CatalogError> {
        report(monitor, Phase::Publishing, 0.9, "runsc: writing to disk");
        let fresh = partial.folder("install")?;
        let program = fresh.join(RUNSC_PROGRAM_FILE);
        let copyright = fresh.join("copyright");
        for (from, to) in [
            (&fetched.program, &program),
            (&fetched.copyright, &copyright),
        ] {
            fs::rename(from, to).map_err(CatalogError::writing("move", to))?;
        }
        files::seal_program(&program).map_err(CatalogError::writing("seal", &program))?;
        files::seal(&copyright).map_err(CatalogError::writing("seal", &copyright))?;
        // Also tells, while there is something to say it, where a cache cannot run programs.
        let version = self.runsc_version(&program, false, monitor)?;
        let version = version.map_err(|reason| CatalogError::RunscUnusable {
            path: self.platform_dir(),
            origin: RunscOrigin::Package,
            reason: format!("{} of {}: {reason}", fetched.package, fetched.source),
        })?;

        let (digest, stamp) = hash(&program)?;
        let name = format!(
            "{PREFIX}{}-{}",
            version.release.compact(),
            digest.get(..8).unwrap_or(&digest)
        );
        let manifest = RunscManifest {
            schema_version: SCHEMA,
            version: version.text,
            package: fetched.package.clone(),
            source: fetched.source.clone(),
            digest,
            stamp,
            created_at: manifest::now(),
        };
        manifest::write(&fresh.join(RUNSC_FILE), &manifest)?;
        if monitor.cancelled() {
            return Err(CatalogError::Cancelled);
        }

        let dir = self.platform_dir().join(&name);
        match self.check_runsc_package(&name) {
            Ok(package) => return Ok(package),
            Err(newer @ CatalogError::NewerManifest { .. }) => return Err(newer),
            Err(_) if dir.symlink_metadata().is_ok() => {
                let aside = partial.path().join("old");
                fs::rename(&dir, &aside).map_err(CatalogError::writing("move aside", &dir))?;
            }
            Err(_) => {}
        }
        fs::rename(&fresh, &dir).map_err(CatalogError::writing("publish", &dir))?;
        let parent = self.platform_dir();
        files::sync(&parent).map_err(CatalogError::writing("sync", &parent))?;
        self.check_runsc_package(&name)
    }
}

fn package(
    name: &str,
    program: PathBuf,
    manifest: &RunscManifest,
) -> Result<Package, CatalogError> {
    let release = Release::of(&manifest.version).ok_or_else(|| {
        CatalogError::damaged(&program, "a version with a date", manifest.version.clone())
    })?;
    Ok(Package {
        dir_name: name.to_owned(),
        release,
        runsc: Runsc {
            path: program,
            version: manifest.version.clone(),
            released: release.to_string(),
            origin: RunscOrigin::Package,
        },
    })
}

fn hash(program: &Path) -> Result<(String, Stamp), CatalogError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => CatalogError::damaged(program, "a file", "none"),
        _ => CatalogError::reading("read", program)(error),
    };
    let bytes = fs::read(program).map_err(failed)?;
    let stamp = Stamp::of(program).map_err(failed)?;
    Ok((digest::of_bytes(&bytes), stamp))
}
