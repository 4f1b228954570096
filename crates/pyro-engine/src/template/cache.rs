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

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::identity::{Identity, Kind};
use crate::build_folder::{BUSY, BuildFolder};
use crate::machine::disk::LAYER;
use crate::random::random_hex;

const MANIFEST: &str = "template.json";

/// The folder of the frozen guest itself, which the shim writes and reads.
pub(super) const GUEST: &str = "guest";

pub(crate) struct TemplateCache(BuildFolder);

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
        Self(BuildFolder::at(folder, |folder| {
            let _ = fs::remove_dir_all(folder);
        }))
    }

    pub(crate) fn folder(&self, key: &str) -> PathBuf {
        self.0.path().join(key)
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
        make_private(self.0.path())?;
        Ok(self.0.try_lock(key)?.map(BuildLock))
    }

    /// A folder to build in, after clearing away what killed builds left.
    pub(super) fn partial(&self) -> io::Result<Partial> {
        let (folder, busy) = self.0.begin()?;
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
        self.0.remove(&folder.join(GUEST));
        drop(lease);
        self.remove(&folder, &is_in_use);
    }

    /// Removes what is damaged or not `wanted` any more; tells names and bytes.
    pub(crate) fn prune(
        &self,
        wanted: impl Fn(&Identity) -> bool,
        is_in_use: impl Fn(&Path) -> bool,
    ) -> (Vec<String>, u64) {
        if let Ok(tidy) = self.0.tidy() {
            self.0.remove_dead_partials(&tidy);
        }
        let (mut names, mut freed) = (Vec::new(), 0);
        for (name, folder) in self.0.finished() {
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
            .0
            .finished()
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
        for (_, folder) in self.0.finished() {
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
        let removed = !is_in_use(folder) && self.0.remove(folder);
        drop(lock);
        removed
    }

    fn builds_of(&self, key: &str) -> Vec<(String, PathBuf)> {
        let prefix = format!("{key}-");
        self.0.entries(|name| name.starts_with(&prefix))
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
