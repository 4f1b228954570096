//! The folder that templates are kept in: finding, publishing, dropping, pruning.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::machine::create::random_hex;

const MANIFEST: &str = "template.json";

/// The folder of the frozen guest itself, which the shim writes and reads.
pub(super) const GUEST: &str = "guest";

const PARTIAL: &str = ".partial-";
const LOCK: &str = ".lock-";

/// Held by a build for as long as it lives.
const BUSY: &str = "busy.lock";

pub(crate) struct Shelf(PathBuf);

/// A template that is ready for use.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) folder: PathBuf,
    pub(crate) facts: Facts,
}

impl Template {
    /// What the shim resumes.
    pub(crate) fn guest(&self) -> PathBuf {
        self.folder.join(GUEST)
    }

    pub(crate) fn key(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
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

impl Shelf {
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(crate) fn folder(&self, key: &str) -> PathBuf {
        self.0.join(key)
    }

    /// The template of this key, when it is there and as it was published.
    pub(crate) fn find(&self, key: &str) -> Option<Template> {
        let folder = self.folder(key);
        let manifest = read_manifest(&folder)?;
        if manifest.identity.key() != key || stamps(&folder).ok()? != manifest.files {
            return None;
        }
        // For dropping the least used; a cache that cannot be written is none of ours to tidy.
        if let Ok(file) = File::open(folder.join(MANIFEST)) {
            let _ = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
        }
        Some(Template {
            folder,
            facts: manifest.facts,
        })
    }

    /// Waits for the right to build; who waited finds the template there.
    pub(super) fn lock(&self, key: &str) -> io::Result<BuildLock> {
        make_private(&self.0)?;
        let file = open_lock(&self.0.join(format!("{LOCK}{key}")))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map(BuildLock)
            .map_err(|(_, errno)| errno.into())
    }

    /// A folder to build in, after clearing away what killed builds left.
    pub(super) fn partial(&self) -> io::Result<Partial> {
        self.remove_dead_partials();
        let folder = self.0.join(format!("{PARTIAL}{}", random_hex(8)?));
        make_private(&folder)?;
        let busy = Flock::lock(
            open_lock(&folder.join(BUSY))?,
            FlockArg::LockExclusiveNonblock,
        )
        .map_err(|(_, errno)| io::Error::from(errno))?;
        Ok(Partial {
            folder,
            _busy: busy,
        })
    }

    /// Makes a finished build the template of its key, in the place of a damaged one.
    pub(super) fn publish(
        &self,
        partial: &Partial,
        identity: Identity,
        facts: Facts,
    ) -> io::Result<()> {
        let key = identity.key();
        let manifest = Manifest {
            identity,
            facts,
            files: stamps(&partial.folder)?,
        };
        let text = serde_json::to_vec_pretty(&manifest)?;
        fs::write(partial.folder.join(MANIFEST), text)?;
        self.drop_template(&self.0.join(&key));
        fs::rename(&partial.folder, self.0.join(&key))
    }

    /// Removes a template that turned out to be of no use. VMs that run on it keep their files.
    pub(crate) fn drop_template(&self, folder: &Path) {
        // Renamed first, so that nobody finds half of one.
        let Ok(doomed) = random_hex(8).map(|name| self.0.join(format!("{PARTIAL}{name}"))) else {
            return;
        };
        if fs::rename(folder, &doomed).is_ok() {
            let _ = fs::remove_dir_all(doomed);
        }
    }

    /// Removes what `keep` does not want; tells names and bytes.
    pub(crate) fn prune(&self, keep: impl Fn(&Path, &Identity) -> bool) -> (Vec<String>, u64) {
        self.remove_dead_partials();
        let (mut names, mut freed) = (Vec::new(), 0);
        for (name, folder) in self.folders() {
            let manifest = read_manifest(&folder);
            let wanted = manifest.is_some_and(|manifest| {
                stamps(&folder).is_ok_and(|found| found == manifest.files)
                    && keep(&folder, &manifest.identity)
            });
            if !wanted {
                freed += allocated(&folder);
                self.drop_template(&folder);
                names.push(format!("templates/{name}"));
            }
        }
        (names, freed)
    }

    /// Drops the least used templates until all fit into `limit` bytes; `newest` stays.
    pub(super) fn shrink(&self, limit: u64, newest: &str, in_use: impl Fn(&Path) -> bool) {
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
            if name != newest && !in_use(&folder) {
                self.drop_template(&folder);
                total -= bytes;
            }
        }
    }

    /// Bytes that all templates take on disk.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.folders()
            .iter()
            .map(|(_, folder)| allocated(folder))
            .sum()
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

fn read_manifest(folder: &Path) -> Option<Manifest> {
    serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()
}

/// The stamps of the files that a VM would use.
fn stamps(folder: &Path) -> io::Result<BTreeMap<String, FileStamp>> {
    let mut stamps = BTreeMap::new();
    for entry in fs::read_dir(folder)?.chain(fs::read_dir(folder.join(GUEST))?) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let found = entry.metadata()?;
        if name == MANIFEST || name == BUSY || found.is_dir() {
            continue;
        }
        stamps.insert(
            name,
            FileStamp {
                size: found.size(),
                mtime: found.mtime(),
                mtime_nsec: found.mtime_nsec(),
            },
        );
    }
    Ok(stamps)
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

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}
