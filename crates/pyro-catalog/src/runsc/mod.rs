//! gVisor's `runsc`, which runs sandboxes where there is no KVM: found here, or fetched.
//!
//! The caller's own choice is taken or refused. Without one, the latest release wins, of what
//! is on PATH and what is in the cache; where neither has one that can be used, Debian's
//! package is fetched into the cache.
//!
//! What is known costs a few stamps and no process. docs/design/gvisor.md says what is trusted
//! and why.

mod package;
mod release;
mod source;
mod version;

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use self::package::PREFIX as PACKAGE_PREFIX;
use self::package::Package;
pub(crate) use self::source::{Fetched, RunscSource};
use self::version::Version;
pub(crate) use self::version::outdated as outdated_answers;
use crate::lock::Lock;
use crate::partial::{self, Partial};
use crate::{
    Catalog, CatalogError, NoMonitor, Phase, ProgressMonitor, Step, disk_usage, full_disk,
};

/// In names of lock files and partial directories.
pub(crate) const SUBJECT: &str = "runsc";
/// The most room that a fetch was seen to need (56 MiB, with the lists of Debian 13), and some more.
const FETCH_BYTES: u64 = 96 * 1024 * 1024;

/// A `runsc` that can run sandboxes on the systrap platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runsc {
    /// Absolute.
    pub path: PathBuf,
    /// As it says itself, like `release-20240729.0` or Debian's `0.0~20240729.0`.
    pub version: String,
    /// The day of its release, like `2024-07-29`.
    pub released: String,
    pub origin: RunscOrigin,
}

/// How a `runsc` was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunscOrigin {
    /// The caller named it.
    Override,
    /// The host has it on PATH.
    OnPath,
    /// It is Debian's, in the cache.
    Package,
}

impl RunscOrigin {
    /// A stable word, for reports and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::OnPath => "path",
            Self::Package => "package",
        }
    }
}

/// Whether an answer of a `runsc` may be written down.
#[derive(Clone, Copy, PartialEq)]
enum Memory {
    Kept,
    ReadOnly,
}

impl Catalog {
    /// Makes sure that there is a `runsc`, and fetches Debian's where there is none.
    ///
    /// This is on the path of each run: what is known takes no lock, starts nothing and writes
    /// nothing. `chosen` is the caller's own choice; it is used or it is an error.
    pub fn runsc(
        &self,
        chosen: Option<&Path>,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Runsc, CatalogError> {
        match self.find_runsc(chosen, Memory::Kept, monitor)? {
            Some(found) => Ok(found),
            None => self.fetch_runsc(false, monitor),
        }
    }

    /// Looks whether there is a `runsc`: fetches nothing and writes nothing. One that was not asked
    /// for its version yet is asked, and will be again.
    pub fn installed_runsc(&self, chosen: Option<&Path>) -> Result<Option<Runsc>, CatalogError> {
        self.find_runsc(chosen, Memory::ReadOnly, &NoMonitor)
    }

    /// Makes sure that the cache has the archive's present package, whatever is there already.
    pub fn pull_runsc(&self, monitor: &dyn ProgressMonitor) -> Result<Runsc, CatalogError> {
        self.fetch_runsc(true, monitor)
    }

    fn find_runsc(
        &self,
        chosen: Option<&Path>,
        memory: Memory,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Option<Runsc>, CatalogError> {
        let remember = memory == Memory::Kept;
        if let Some(chosen) = chosen {
            let path = std::path::absolute(chosen).unwrap_or_else(|_| chosen.to_owned());
            let origin = RunscOrigin::Override;
            return match self.runsc_version(&path, remember, monitor)? {
                Ok(version) => Ok(Some(runsc(path, version, origin))),
                Err(reason) => Err(CatalogError::RunscUnusable {
                    path,
                    origin,
                    reason,
                }),
            };
        }
        let of_host = self.newest_on_path(remember, monitor)?;
        let package = self.newest_runsc_package();
        Ok(match (of_host, package) {
            // Of the same release the host's own: its owner sees to it.
            (Some((path, version)), package)
                if package
                    .as_ref()
                    .is_none_or(|p| p.release <= version.release) =>
            {
                Some(runsc(path, version, RunscOrigin::OnPath))
            }
            (_, package) => package.map(|package| package.runsc),
        })
    }

    /// What cannot be used is passed over, like Debian 12's own of 2022.
    fn newest_on_path(
        &self,
        remember: bool,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Option<(PathBuf, Version)>, CatalogError> {
        let mut seen: Vec<PathBuf> = Vec::new();
        let mut newest: Option<(PathBuf, Version)> = None;
        for candidate in self.runsc_source.on_path() {
            // Where /bin leads to /usr/bin, one file is on PATH twice.
            let Ok(path) = fs::canonicalize(candidate) else {
                continue;
            };
            if seen.contains(&path) {
                continue;
            }
            if let Ok(version) = self.runsc_version(&path, remember, monitor)?
                && newest
                    .as_ref()
                    .is_none_or(|(_, found)| found.release < version.release)
            {
                newest = Some((path.clone(), version));
            }
            seen.push(path);
        }
        Ok(newest)
    }

    /// Fetches under the lock; `anew` also where the cache has one.
    fn fetch_runsc(
        &self,
        anew: bool,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Runsc, CatalogError> {
        let platform_dir = self.platform_dir();
        fs::create_dir_all(&platform_dir)
            .map_err(CatalogError::writing("create", &platform_dir))?;
        let (_lock, _) = Lock::acquire(&self.runsc_lock_path(), monitor, &|| {
            monitor.progress(&Step {
                phase: Phase::Waiting,
                message: "another pyro is fetching runsc, waiting".to_owned(),
                fraction: None,
            });
        })?;
        partial::remove_dead(&platform_dir, SUBJECT);

        // It may have been fetched while we waited, or between look and lock; or it is a copy.
        self.restamp_runsc_packages();
        if !anew && let Some(found) = self.newest_runsc_package() {
            return Ok(found.runsc);
        }
        if monitor.cancelled() {
            return Err(CatalogError::Cancelled);
        }
        self.runsc_source.prepare()?;
        let free = disk_usage::free_bytes(&platform_dir).unwrap_or(u64::MAX);
        if free < FETCH_BYTES {
            return Err(CatalogError::no_space(&platform_dir, FETCH_BYTES));
        }
        let partial = Partial::create(&platform_dir, SUBJECT)?;
        let package = self
            .fetch_runsc_in(&partial, monitor)
            // To be asked before the partial directory goes and gives back its room.
            .map_err(|error| full_disk::or_no_space(error, FETCH_BYTES, &platform_dir))?;
        Ok(package.runsc)
    }

    fn fetch_runsc_in(
        &self,
        partial: &Partial,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Package, CatalogError> {
        let folder = partial.folder("fetch")?;
        let fetched = self.runsc_source.fetch(&folder, monitor)?;
        self.publish_runsc(&fetched, partial, monitor)
    }

    pub(crate) fn runsc_answers_dir(&self) -> PathBuf {
        self.platform_dir().join(ANSWERS_DIR)
    }

    pub(crate) fn runsc_lock_path(&self) -> PathBuf {
        self.platform_dir().join(format!(".lock-{SUBJECT}"))
    }
}

/// What files said their versions are. No name of a package begins like this.
pub(crate) const ANSWERS_DIR: &str = "versions-of-runsc";

fn runsc(path: PathBuf, version: Version, origin: RunscOrigin) -> Runsc {
    Runsc {
        path,
        released: version.release.to_string(),
        version: version.text,
        origin,
    }
}

#[cfg(test)]
mod tests;
