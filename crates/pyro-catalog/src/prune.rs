//! Removes from the cache what no pull, no run and no workspace needs.
//!
//! Only what the catalog itself made is looked at: directories below the platform folder.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::environments::KEPT_PREFIX;
use crate::images::BLOBS_DIR;
use crate::layout::ENVIRONMENT_FILE;
use crate::lock::Lock;
use crate::manifest::{self, EnvironmentManifest};
use crate::partial::{is_dead, is_partial, may_belong_to};
use crate::{
    Catalog, CatalogError, EnvironmentSpec, disk_usage, environments, files, initramfs, partial,
    runsc, vmlinux,
};

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names of directories, sorted.
    pub deleted: Vec<String>,
    /// Blocks given back, those of single files included.
    pub freed_bytes: u64,
}

impl Pruned {
    fn remove_file(&mut self, path: &Path) -> Result<(), CatalogError> {
        self.freed_bytes += disk_usage::allocated_bytes(path);
        files::remove(path).map_err(CatalogError::writing("remove", path))
    }
}

impl Catalog {
    /// Removes what is dead, damaged, of another version or of no name.
    ///
    /// Kept are current installs, what a live pull works on, and each directory or initramfs
    /// for which `in_use` says so; with a kept install goes its kernel. Of the packages of `runsc`
    /// the latest is current. A sandbox that runs has its program open, so it goes on without the
    /// name; one that is to be started or asked by that path again is for `in_use` to tell.
    pub fn prune(&self, in_use: &dyn Fn(&Path) -> bool) -> Result<Pruned, CatalogError> {
        let platform_dir = self.platform_dir();
        let mut pruned = Pruned::default();
        let Some(mut names) = directories(&platform_dir)? else {
            return Ok(pruned);
        };
        let sweep = Sweep::begin(self, in_use)?;
        let back = sweep.put_back(&names)?;
        names.extend(back);
        let (kernels, others): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|name| name.starts_with("kernel-"));

        let mut kept = HashSet::new();
        // Of one that cannot be had again, and does not say which kernel it needs.
        let mut any_kernel = false;
        for name in others {
            let path = platform_dir.join(&name);
            if sweep.keeps(&name, &path) {
                let kernel = kernel_of(&path);
                any_kernel |= kernel.is_none() && name.starts_with(KEPT_PREFIX);
                kept.extend(kernel);
            } else {
                self.delete(&path, name, &mut pruned)?;
            }
        }
        for name in kernels {
            let path = platform_dir.join(&name);
            // A pull publishes its kernel some time before the install that names it.
            let wanted = any_kernel
                || !sweep.live.is_empty()
                || kept.iter().any(|kernel| kernel.dir == name);
            if !wanted && !in_use(&path) {
                self.delete(&path, name, &mut pruned)?;
                continue;
            }
            for path in vmlinux::abandoned(&path) {
                pruned.remove_file(&path)?;
            }
        }
        let names_kernel =
            |digest: &str| any_kernel || kept.iter().any(|kernel| kernel.digest == digest);
        for path in initramfs::unreferenced(&self.initramfs_dir(), &names_kernel) {
            if sweep.live.is_empty() && !in_use(&path) {
                pruned.remove_file(&path)?;
            }
        }
        for path in runsc::outdated_answers(&self.runsc_answers_dir()) {
            pruned.remove_file(&path)?;
        }
        if sweep.live.is_empty() {
            pruned.freed_bytes += self.prune_blobs()?;
        }
        pruned.deleted.sort();
        Ok(pruned)
    }

    pub(crate) fn delete(
        &self,
        path: &Path,
        name: String,
        pruned: &mut Pruned,
    ) -> Result<(), CatalogError> {
        let bytes = disk_usage::own_bytes(path);
        // Renamed first, so that nobody finds half an install, not even after a `kill -9`.
        let trash = partial::trash_path(&self.platform_dir());
        fs::rename(path, &trash).map_err(CatalogError::writing("remove", path))?;
        files::remove(&trash).map_err(CatalogError::writing("remove", &trash))?;
        pruned.freed_bytes += bytes;
        pruned.deleted.push(name);
        Ok(())
    }
}

/// What one prune goes by. It holds the lock of each environment that nobody pulls.
struct Sweep<'a> {
    catalog: &'a Catalog,
    in_use: &'a dyn Fn(&Path) -> bool,
    /// Of environments that somebody pulls.
    live: Vec<String>,
    /// Whether somebody fetches a `runsc`.
    runsc_live: bool,
    /// The directory of the `runsc` that would be used.
    runsc: Option<String>,
    _held: Vec<Lock>,
}

impl<'a> Sweep<'a> {
    fn begin(
        catalog: &'a Catalog,
        in_use: &'a dyn Fn(&Path) -> bool,
    ) -> Result<Self, CatalogError> {
        let (mut live, mut held) = (Vec::new(), Vec::new());
        let subjects = environments().iter().map(EnvironmentSpec::subject);
        for subject in subjects.chain(catalog.subjects_of_directories()) {
            match Lock::try_acquire(&catalog.lock_path(&subject))? {
                Some(lock) => held.push(lock),
                None => live.push(subject),
            }
        }
        let runsc_lock = Lock::try_acquire(&catalog.runsc_lock_path())?;
        let runsc_live = runsc_lock.is_none();
        held.extend(runsc_lock);
        if !runsc_live {
            catalog.restamp_runsc_packages();
        }
        Ok(Self {
            catalog,
            in_use,
            live,
            runsc_live,
            runsc: catalog.newest_runsc_package().map(|newest| newest.dir_name),
            _held: held,
        })
    }

    /// Puts back what killed pyros left aside; tells the names.
    fn put_back(&self, names: &[String]) -> Result<Vec<String>, CatalogError> {
        let platform_dir = self.catalog.platform_dir();
        let mut back = Vec::new();
        for name in names.iter().filter(|name| is_partial(name)) {
            let path = platform_dir.join(name);
            if !self.keeps(name, &path) {
                let put =
                    partial::put_back(&path).map_err(CatalogError::writing("put back", &path))?;
                back.extend(put.filter(|back| !names.contains(back)));
            }
        }
        Ok(back)
    }

    fn keeps(&self, name: &str, path: &Path) -> bool {
        if is_partial(name) {
            let of_live_pull = |subject: &String| may_belong_to(name, subject);
            return self.live.iter().any(of_live_pull)
                || (self.runsc_live && may_belong_to(name, runsc::SUBJECT))
                || !is_dead(path)
                || (self.in_use)(path);
        }
        if name.starts_with(runsc::PACKAGE_PREFIX) {
            let current = self.runsc.as_deref() == Some(name);
            return current || self.runsc_live || (self.in_use)(path);
        }
        let environments = environments().iter();
        let own = environments
            .chain(self.catalog.spec_of_directory(name))
            .find(|spec| spec.dir_name() == name);
        let of_live_pull = self.live.iter().any(|subject| subject == name);
        // What nobody can make sense of may be of a newer pyro, and cannot be had again.
        let is_kept = own.is_none() && name.starts_with(KEPT_PREFIX);
        let current = of_live_pull || is_kept || own.is_some_and(|spec| self.is_current(spec));
        current || (self.in_use)(path)
    }

    fn is_current(&self, spec: &'static EnvironmentSpec) -> bool {
        if self.live.contains(&spec.subject()) {
            return true;
        }
        if spec.local_path().is_some_and(|path| !path.exists()) || spec.is_hidden() {
            return false;
        }
        // It cannot be made again, so a person says when it goes.
        if spec.is_kept() {
            return true;
        }
        matches!(self.catalog.installed(spec), Ok(Some(_)))
            // A copy or a restore changes the stamps of a sound image.
            || self.catalog.verify(spec).is_ok()
    }
}

/// A kernel that a kept install names.
#[derive(PartialEq, Eq, Hash)]
struct KernelInUse {
    dir: String,
    digest: String,
}

fn kernel_of(install_dir: &Path) -> Option<KernelInUse> {
    let manifest: EnvironmentManifest = manifest::read(&install_dir.join(ENVIRONMENT_FILE)).ok()?;
    Some(KernelInUse {
        dir: manifest.kernel.dir_name(),
        digest: manifest.kernel.digest,
    })
}

/// The directories that a prune may judge, or `None` where there is no cache yet.
fn directories(platform_dir: &Path) -> Result<Option<Vec<String>>, CatalogError> {
    let entries = match fs::read_dir(platform_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CatalogError::reading("list", platform_dir)(error)),
    };
    let judged = |entry: &fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let of_files = ["initramfs", runsc::ANSWERS_DIR, BLOBS_DIR].contains(&&*name);
        let ours = !of_files && (is_partial(&name) || !name.starts_with('.'));
        (is_dir && ours).then_some(name)
    };
    Ok(Some(
        entries
            .flatten()
            .filter_map(|entry| judged(&entry))
            .collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rig, program, rig};
    use crate::{NoMonitor, find};

    fn names(rig: &Rig) -> Vec<String> {
        let mut names = directories(&rig.catalog.platform_dir()).unwrap().unwrap();
        names.sort();
        names
    }

    fn nothing(_: &Path) -> bool {
        false
    }

    #[test]
    fn a_cache_that_does_not_exist_is_already_clean() {
        let rig = rig();
        assert_eq!(rig.catalog.prune(&nothing).unwrap(), Pruned::default());
        assert!(!rig.catalog.cache_dir().exists());
    }

    #[test]
    fn what_is_current_stays_and_all_else_goes() {
        let rig = rig();
        let installed = rig
            .catalog
            .ensure(find("debian:12").unwrap(), &NoMonitor)
            .unwrap();
        let before = names(&rig);
        let broken = rig
            .catalog
            .ensure(find("debian:12-base").unwrap(), &NoMonitor)
            .unwrap();
        fs::remove_file(&broken.rootfs).unwrap();
        let dir = rig.catalog.platform_dir();
        for name in [
            ".partial-debian_12-1-0",
            ".partial-debian_11-1-0",
            "debian_12-1.0.0",
            "debian_12-build-4.1.0",
            "something-else",
            "kernel-5.10.0-1-deadbeef",
        ] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("file"), vec![1; 100_000]).unwrap();
        }
        fs::write(dir.join("a-file-of-somebody"), "").unwrap();

        let pruned = rig.catalog.prune(&nothing).unwrap();
        assert_eq!(
            pruned.deleted,
            [
                ".partial-debian_11-1-0",
                ".partial-debian_12-1-0",
                "debian_12-1.0.0",
                "debian_12-base-4.0.0",
                "debian_12-build-4.1.0",
                "kernel-5.10.0-1-deadbeef",
                "something-else",
            ]
        );
        assert!(pruned.freed_bytes >= 600_000, "{pruned:?}");
        assert_eq!(names(&rig), before);
        assert!(dir.join("a-file-of-somebody").exists());
        assert!(rig.catalog.verify(installed.spec).is_ok());
        assert_eq!(rig.catalog.prune(&nothing).unwrap(), Pruned::default());
    }

    #[test]
    fn what_a_live_pull_or_a_workspace_holds_stays() {
        let rig = rig();
        let spec = find("debian:12-build").unwrap();
        let dir = rig.catalog.platform_dir();
        fs::create_dir_all(&dir).unwrap();
        let _lock = Lock::try_acquire(&rig.catalog.lock_path(&spec.subject()))
            .unwrap()
            .unwrap();
        for name in [
            ".partial-debian_12-build-1-0",
            "debian_12-build-4.1.0",
            "debian_12-1.0.0",
            "kernel-6.1.0-1-12345678",
            "gone",
        ] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        let in_use = |path: &Path| path.ends_with("debian_12-1.0.0");
        assert_eq!(rig.catalog.prune(&in_use).unwrap().deleted, ["gone"]);
    }

    #[test]
    fn a_partial_directory_of_a_living_process_stays() {
        let rig = rig();
        let dir = rig.catalog.platform_dir();
        fs::create_dir_all(&dir).unwrap();
        let live = partial::Partial::create(&dir, "debian_99").unwrap();
        assert_eq!(rig.catalog.prune(&nothing).unwrap(), Pruned::default());
        drop(live);
        assert!(names(&rig).is_empty());
    }

    #[test]
    fn of_the_packages_of_runsc_the_latest_and_those_in_use_stay() {
        let rig = rig();
        let pull = |version: &str| {
            rig.runsc.publishes(version);
            let path = rig.catalog.pull_runsc(&NoMonitor).unwrap().path;
            path.parent().unwrap().to_owned()
        };
        let old = pull("0.0~20240101.0");
        let newer = pull("0.0~20240729.0");
        let oldest = pull("0.0~20230801.0");
        let broken = pull("0.0~20250101.0");
        fs::remove_file(broken.join("runsc")).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();

        let in_use = |path: &Path| path == old;
        let mut expected = [name(&oldest), name(&broken)];
        expected.sort();
        assert_eq!(rig.catalog.prune(&in_use).unwrap().deleted, expected);
        assert_eq!(rig.catalog.prune(&nothing).unwrap().deleted, [name(&old)]);
        assert!(rig.catalog.prune(&nothing).unwrap().deleted.is_empty());
        assert_eq!(names(&rig), [name(&newer)]);
    }

    #[test]
    fn a_fetch_at_work_keeps_all_that_is_of_runsc() {
        let rig = rig();
        let dir = rig.catalog.platform_dir();
        for name in [".partial-runsc-1-0", "runsc-20230801.0-12345678", "gone"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        let lock = Lock::try_acquire(&rig.catalog.runsc_lock_path())
            .unwrap()
            .unwrap();
        assert_eq!(rig.catalog.prune(&nothing).unwrap().deleted, ["gone"]);
        drop(lock);
        assert_eq!(
            rig.catalog.prune(&nothing).unwrap().deleted,
            [".partial-runsc-1-0", "runsc-20230801.0-12345678"]
        );
    }

    #[test]
    fn what_a_file_said_is_forgotten_with_the_file() {
        let rig = rig();
        let path = rig.runsc.on_path("bin/runsc", "release-20240729.0");
        rig.catalog.runsc(None, &NoMonitor).unwrap();
        let answers = rig.catalog.runsc_answers_dir();
        let count = || fs::read_dir(&answers).unwrap().count();
        rig.catalog.prune(&nothing).unwrap();
        assert_eq!(count(), 1);
        fs::remove_file(path).unwrap();
        assert!(rig.catalog.prune(&nothing).unwrap().freed_bytes > 0);
        assert_eq!(count(), 0);
    }

    #[test]
    fn what_was_not_written_to_its_end_goes_and_the_kernel_beside_it_stays() {
        let rig = rig();
        let spec = find("debian:12").unwrap();
        let kernel = rig.catalog.ensure(spec, &NoMonitor).unwrap().kernel;
        let vmlinux = kernel.image.with_file_name("vmlinux");
        let debris = kernel.image.with_file_name(".tmp-1-0");
        for path in [&vmlinux, &debris] {
            let file = fs::File::create(path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        assert!(rig.catalog.prune(&nothing).unwrap().deleted.is_empty());
        assert!(vmlinux.exists() && !debris.exists());
    }

    #[test]
    fn an_initramfs_goes_with_its_agent_or_its_kernel() {
        let rig = rig();
        let spec = find("debian:12").unwrap();
        let kernel = rig.catalog.ensure(spec, &NoMonitor).unwrap().kernel;
        let agent = |name: &str, extra: u8| {
            let path = rig.folder.path().join(name);
            fs::write(&path, [program(false), vec![extra]].concat()).unwrap();
            path
        };
        let stays = rig.catalog.initramfs(&kernel, &agent("one", 1)).unwrap();
        let old_agent = agent("two", 2);
        let goes = rig.catalog.initramfs(&kernel, &old_agent).unwrap();
        fs::remove_file(old_agent).unwrap();

        let pruned = rig.catalog.prune(&|path: &Path| path == goes).unwrap();
        assert!(pruned.deleted.is_empty() && goes.exists());
        rig.catalog.prune(&nothing).unwrap();
        assert!(stays.exists() && !goes.exists());

        fs::remove_dir_all(rig.catalog.install_dir(spec)).unwrap();
        rig.catalog.prune(&nothing).unwrap();
        assert!(!stays.exists() && names(&rig).is_empty());
    }
}
