//! The folder that trees are kept in: finding, publishing, pruning.
//!
//! A tree appears whole, by one rename, after everything in it was flushed to the disk. From then on
//! nobody writes to it, so that finding one is looking whether it is there.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::Flock;
use nix::unistd::geteuid;
use pyro_namespace::remove_tree;
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::build_folder::{BUSY, BuildFolder};
use crate::owned_files::Unpacked;
use crate::private_file;

const MANIFEST: &str = "tree.json";
const ROOT: &str = "root";

/// A tree that was found less than this ago is not removed: who found it may not have its record
/// yet.
const YOUNG: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(super) struct TreeCache(BuildFolder);

#[derive(Serialize, Deserialize)]
struct Manifest {
    identity: Identity,
    contents: Unpacked,
}

/// The right to build one tree.
#[derive(Debug)]
pub(super) struct Builder {
    cache: TreeCache,
    _lock: Flock<File>,
}

/// A tree being made. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Partial {
    folder: PathBuf,
    busy: Flock<File>,
}

impl TreeCache {
    pub(super) fn at(folder: PathBuf) -> Self {
        Self(BuildFolder::at(folder, |folder| {
            let _ = remove_tree(folder);
        }))
    }

    /// A tree, when there is one. Looks at nothing but names, rights and times.
    pub(super) fn find(&self, identity: &Identity) -> Option<PathBuf> {
        let folder = self.0.path().join(identity.key());
        let manifest = folder.join(MANIFEST);
        if !fs::symlink_metadata(&manifest).ok()?.is_file() || !is_private(self.0.path()) {
            return None;
        }
        // Not the time of access, which a prune that looks at it would change.
        let now = FileTimes::new().set_modified(SystemTime::now());
        let _ = File::open(manifest).and_then(|file| file.set_times(now));
        // After that, for who removes a tree renames it first.
        let root = folder.join(ROOT);
        root.is_dir().then_some(root)
    }

    /// Makes the folder when it is not there, and tells whether trees can be kept in it safely.
    pub(super) fn is_ours(&self) -> bool {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.0.path());
        if made.is_err() {
            return false;
        }
        // As after a copy that did not keep rights.
        let is_caller = |found: fs::Metadata| found.uid() == geteuid().as_raw();
        if fs::symlink_metadata(self.0.path()).is_ok_and(is_caller) && !is_private(self.0.path()) {
            let _ = fs::set_permissions(self.0.path(), fs::Permissions::from_mode(0o700));
        }
        is_private(self.0.path())
    }

    /// The right to build, unless another process has it; who waited finds the tree there.
    pub(super) fn try_lock(&self, identity: &Identity) -> io::Result<Option<Builder>> {
        let lock = self.0.try_lock(&identity.key())?;
        Ok(lock.map(|lock| Builder {
            cache: self.clone(),
            _lock: lock,
        }))
    }

    /// Removes what is damaged or not `wanted` any more; tells names and bytes.
    pub(super) fn prune(
        &self,
        wanted: impl Fn(&Identity) -> bool,
        is_in_use: impl Fn(&Path) -> bool,
    ) -> (Vec<String>, u64) {
        let (mut names, mut freed) = (Vec::new(), 0);
        let Ok(tidy) = self.0.tidy() else {
            return (names, freed);
        };
        self.0.remove_dead_partials(&tidy);
        for (name, folder) in self.0.finished() {
            let manifest = read_manifest(&folder);
            let identity = manifest.as_ref().map(|manifest| &manifest.identity);
            if identity.is_some_and(&wanted) || is_young(&folder) || is_in_use(&folder) {
                continue;
            }
            if self.0.remove(&folder) {
                freed += manifest.map_or(0, |manifest| manifest.contents.allocated);
                names.push(format!("trees/{name}"));
            }
        }
        (names, freed)
    }
}

impl Builder {
    /// A folder to unpack into, after clearing away what killed ones left.
    pub(super) fn partial(&self) -> io::Result<Partial> {
        let (folder, busy) = self.cache.0.begin()?;
        let partial = Partial { folder, busy };
        fs::DirBuilder::new().mode(0o700).create(partial.root())?;
        Ok(partial)
    }

    /// Makes what was unpacked, and flushed, the tree that everybody finds.
    pub(super) fn publish(
        &self,
        partial: &Partial,
        identity: &Identity,
        contents: Unpacked,
    ) -> io::Result<PathBuf> {
        let manifest = Manifest {
            identity: identity.clone(),
            contents,
        };
        let mut file = private_file::create(&partial.folder.join(MANIFEST))?;
        file.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
        file.sync_all()?;
        File::open(&partial.folder)?.sync_all()?;
        let folder = self.cache.0.path().join(identity.key());
        // What is of this name and was not found has lost its manifest or its root.
        if folder.symlink_metadata().is_ok() {
            self.cache.0.remove(&folder);
        }
        fs::rename(&partial.folder, &folder)?;
        File::open(self.cache.0.path())?.sync_all()?;
        let _ = fs::remove_file(folder.join(BUSY));
        Ok(folder.join(ROOT))
    }
}

impl Partial {
    /// Where the image is unpacked to.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join(ROOT)
    }

    /// For whoever writes in it: as long as a copy is open, nobody takes it for debris.
    pub(super) fn busy(&self) -> io::Result<OwnedFd> {
        Ok(self.busy.try_clone()?.into())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After publishing there is nothing of this name any more.
        let _ = remove_tree(&self.folder);
    }
}

/// Whether nobody but the caller gets through a folder.
fn is_private(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|found| {
        found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0
    })
}

fn is_young(folder: &Path) -> bool {
    let used = fs::metadata(folder.join(MANIFEST)).and_then(|found| found.modified());
    used.is_ok_and(|used| match used.elapsed() {
        Ok(age) => age < YOUNG,
        // A clock that was set back makes nothing young for as long as that.
        Err(ahead) => ahead.duration() < YOUNG,
    })
}

fn read_manifest(folder: &Path) -> Option<Manifest> {
    serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()
}
