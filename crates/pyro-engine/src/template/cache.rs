//! The folder that templates are kept in: finding, publishing, discarding, pruning.
//!
//! Who has a [`Template`] holds a lease, a shared lock on it, and only who gets it alone may remove
//! it: nothing vanishes between being found and being used. From then on a VM's record protects the
//! layer below its disk; the memory of a running guest stays with QEMU, removed or not.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::identity::{Identity, Kind};
use crate::machine::disk::LAYER;
use crate::private_file;
use crate::random::random_hex;

const MANIFEST: &str = "template.json";

/// The folder of the frozen guest itself, which the shim writes and reads.
pub(super) const GUEST: &str = "guest";

const PARTIAL: &str = ".partial-";
const LOCK: &str = ".lock-";

/// Held by a build for as long as it lives.
const BUSY: &str = "busy.lock";

pub(crate) struct TemplateCache(PathBuf);

/// A template that is ready for use.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) folder: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) facts: Facts,
    lease: Arc<Flock<File>>,
}

impl Template {
    /// What the shim resumes.
    pub(crate) fn guest(&self) -> PathBuf {
        self.folder.join(GUEST)
    }

    /// The name of this build.
    pub(crate) fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// What the cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TemplateStats {
    pub(crate) mounted: usize,
    pub(crate) bare: usize,
    /// Cannot be resumed: damaged, or only the layer is left, for the VMs that stand on it.
    pub(crate) unusable: usize,
    /// What all of them take on disk.
    pub(crate) bytes: u64,
}

/// What a template's guest runs on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) accelerator: String,
    pub(crate) accelerator_reason: String,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    identity: Identity,
    facts: Facts,
    /// Size and time of change of each file, so that a damaged one is not used.
    files: BTreeMap<String, FileStamp>,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct FileStamp {
    size: u64,
    mtime: i64,
    mtime_nsec: i64,
}

/// The right to build one template.
pub(super) struct BuildLock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

/// A template being made. Dropping it removes it.
pub(super) struct Partial {
    folder: PathBuf,
    _busy: Flock<File>,
}

impl TemplateCache {
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(crate) fn folder(&self, key: &str) -> PathBuf {
        self.0.join(key)
    }

    /// A template of this key, when there is one that is as it was published.
    pub(crate) fn find(&self, key: &str) -> Option<Template> {
        let mut builds = self.builds_of(key);
        builds.sort();
        builds.into_iter().find_map(|(_, folder)| open(folder))
    }

    /// The template of this key that a layer belongs to.
    pub(crate) fn find_on(&self, key: &str, layer: &Path) -> Option<Template> {
        let is_below = |folder: &PathBuf| folder.join(LAYER) == layer;
        let mut builds = self.builds_of(key).into_iter().map(|(_, folder)| folder);
        open(builds.find(is_below)?)
    }

    /// The folder of a build, when the layer in it is still the one that VMs were made on.
    pub(crate) fn intact(&self, name: &str) -> Option<PathBuf> {
        let folder = self.folder(name);
        let published = read_manifest(&folder)?.files.remove(LAYER)?;
        (stamp(&folder.join(LAYER)).ok()? == published).then_some(folder)
    }

    /// The right to build, unless another process has it; who waited finds the template there.
    pub(super) fn try_lock(&self, key: &str) -> io::Result<Option<BuildLock>> {
        make_private(&self.0)?;
        let file = private_file::open(&self.0.join(format!("{LOCK}{key}")))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(BuildLock(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// A folder to build in, after clearing away what killed builds left.
    pub(super) fn partial(&self) -> io::Result<Partial> {
        let _tidy = self.tidy()?;
        self.remove_dead_partials();
        let folder = self.0.join(format!("{PARTIAL}{}", random_hex(8)?));
        make_private(&folder)?;
        let busy = Flock::lock(
            private_file::open(&folder.join(BUSY))?,
            FlockArg::LockExclusiveNonblock,
        )
        .map_err(|(_, errno)| io::Error::from(errno))?;
        Ok(Partial {
            folder,
            _busy: busy,
        })
    }

    /// Makes a finished build a template of its key; tells its name.
    pub(super) fn publish(
        &self,
        partial: &Partial,
        identity: Identity,
        facts: Facts,
    ) -> io::Result<String> {
        let name = format!("{}-{}", identity.key(), random_hex(4)?);
        let manifest = Manifest {
            identity,
            facts,
            files: stamps(&partial.folder)?,
        };
        let text = serde_json::to_vec_pretty(&manifest)?;
        fs::write(partial.folder.join(MANIFEST), text)?;
        fs::rename(&partial.folder, self.folder(&name))?;
        Ok(name)
    }

    /// Sees to it that a template that turned out to be of no use is not found again. Its layer
    /// stays for as long as it `is_in_use` by a VM.
    pub(crate) fn discard(&self, template: Template, is_in_use: impl Fn(&Path) -> bool) {
        let Template { folder, lease, .. } = template;
        self.remove_atomically(&folder.join(GUEST));
        drop(lease);
        self.remove(&folder, &is_in_use);
    }

    /// Removes what is damaged or not `wanted` any more; tells names and bytes.
    pub(crate) fn prune(
        &self,
        wanted: impl Fn(&Identity) -> bool,
        is_in_use: impl Fn(&Path) -> bool,
    ) -> (Vec<String>, u64) {
        if let Ok(_tidy) = self.tidy() {
            self.remove_dead_partials();
        }
        let (mut names, mut freed) = (Vec::new(), 0);
        for (name, folder) in self.folders() {
            let manifest = read_manifest(&folder).filter(|manifest| manifest.matches(&folder));
            if manifest.is_some_and(|manifest| wanted(&manifest.identity)) {
                continue;
            }
            let bytes = allocated(&folder);
            if self.remove(&folder, &is_in_use) {
                freed += bytes;
                names.push(format!("templates/{name}"));
            }
        }
        (names, freed)
    }

    /// Removes what the build called `newest` replaces, and then the least used templates until all
    /// fit into `limit` bytes. The newest stays, whatever its size.
    pub(super) fn evict(&self, limit: u64, newest: &str, is_in_use: impl Fn(&Path) -> bool) {
        let key = newest.split('-').next().unwrap_or_default();
        for (name, folder) in self.builds_of(key) {
            if name != newest {
                self.remove(&folder, &is_in_use);
            }
        }
        let mut all: Vec<_> = self
            .folders()
            .into_iter()
            .map(|(name, folder)| {
                let used = fs::metadata(folder.join(MANIFEST)).and_then(|found| found.accessed());
                (
                    used.unwrap_or(SystemTime::UNIX_EPOCH),
                    allocated(&folder),
                    name,
                    folder,
                )
            })
            .collect();
        all.sort();
        let mut total: u64 = all.iter().map(|(_, bytes, ..)| bytes).sum();
        for (_, bytes, name, folder) in all {
            if total <= limit {
                return;
            }
            if name != newest && self.remove(&folder, &is_in_use) {
                total -= bytes;
            }
        }
    }

    pub(crate) fn stats(&self) -> TemplateStats {
        let mut stats = TemplateStats::default();
        for (_, folder) in self.folders() {
            stats.bytes += allocated(&folder);
            let manifest = read_manifest(&folder).filter(|manifest| manifest.matches(&folder));
            match manifest.map(|manifest| manifest.identity.kind()) {
                Some(Kind::Mounted) => stats.mounted += 1,
                Some(Kind::Bare) => stats.bare += 1,
                None => stats.unusable += 1,
            }
        }
        stats
    }

    /// Removes a build that nobody has a lease on and no VM's disk stands on.
    fn remove(&self, folder: &Path, is_in_use: &impl Fn(&Path) -> bool) -> bool {
        // A VM that is being made has its record before it lets go of its template, so the records
        // are asked after the lock. What has no manifest was never leased.
        let lock = match File::open(folder.join(MANIFEST)) {
            Ok(file) => match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => Some(lock),
                Err(_) => return false,
            },
            Err(_) => None,
        };
        let removed = !is_in_use(folder) && self.remove_atomically(folder);
        drop(lock);
        removed
    }

    /// Removes a folder so that nobody finds half of it; false when it cannot be touched.
    fn remove_atomically(&self, folder: &Path) -> bool {
        let Ok(doomed) = random_hex(8).map(|name| self.0.join(format!("{PARTIAL}{name}"))) else {
            return false;
        };
        if fs::rename(folder, &doomed).is_err() {
            return false;
        }
        // What cannot be removed now is debris of that name for the next build or prune.
        let _ = fs::remove_dir_all(doomed);
        true
    }

    fn builds_of(&self, key: &str) -> Vec<(String, PathBuf)> {
        let prefix = format!("{key}-");
        self.entries(|name| name.starts_with(&prefix))
    }

    fn folders(&self) -> Vec<(String, PathBuf)> {
        self.entries(|name| !name.starts_with('.'))
    }

    fn entries(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
        fs::read_dir(&self.0)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
            .filter(|(name, _)| wanted(name))
            .collect()
    }

    /// Held for the moment in which partial folders are looked through or begun: one that was just
    /// made is not locked yet, and looks like a dead one.
    fn tidy(&self) -> io::Result<Flock<File>> {
        Flock::lock(File::open(&self.0)?, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno.into())
    }

    fn remove_dead_partials(&self) {
        for (_, folder) in self.entries(|name| name.starts_with(PARTIAL)) {
            let lives = File::open(folder.join(BUSY))
                .is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err());
            if !lives {
                let _ = fs::remove_dir_all(folder);
            }
        }
    }
}

impl Partial {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After publishing there is nothing of this name any more.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Manifest {
    /// Whether the files are those that were published.
    fn matches(&self, folder: &Path) -> bool {
        stamps(folder).is_ok_and(|found| found == self.files)
    }
}

/// Takes a lease on a template, when it is as it was published.
fn open(folder: PathBuf) -> Option<Template> {
    let file = File::open(folder.join(MANIFEST)).ok()?;
    // For removing the least used first; a cache that cannot be written is none of ours to tidy.
    let _ = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
    let lease = Flock::lock(file, FlockArg::LockSharedNonblock).ok()?;
    // Only now: whoever was about to remove it has done so, and this finds nothing.
    let manifest = read_manifest(&folder).filter(|manifest| manifest.matches(&folder))?;
    Some(Template {
        folder,
        kind: manifest.identity.kind(),
        facts: manifest.facts,
        lease: Arc::new(lease),
    })
}

fn read_manifest(folder: &Path) -> Option<Manifest> {
    serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()
}

/// The stamps of the files that a VM would use.
fn stamps(folder: &Path) -> io::Result<BTreeMap<String, FileStamp>> {
    let mut stamps = BTreeMap::new();
    for entry in fs::read_dir(folder)?.chain(fs::read_dir(folder.join(GUEST))?) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == MANIFEST || name == BUSY || entry.file_type()?.is_dir() {
            continue;
        }
        stamps.insert(name, stamp(&entry.path())?);
    }
    Ok(stamps)
}

fn stamp(path: &Path) -> io::Result<FileStamp> {
    let found = fs::metadata(path)?;
    Ok(FileStamp {
        size: found.size(),
        mtime: found.mtime(),
        mtime_nsec: found.mtime_nsec(),
    })
}

fn allocated(folder: &Path) -> u64 {
    [folder.to_owned(), folder.join(GUEST)]
        .into_iter()
        .flat_map(fs::read_dir)
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.metadata().ok())
        .map(|found| found.blocks() * 512)
        .sum()
}

fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}
