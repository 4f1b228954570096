//! A folder of the cache in which things are built aside and then appear whole, by one rename.
//!
//! ```text
//! KEY…          what is finished; whoever keeps it knows what is in it
//! .partial-…/   what is being built, or removed; its busy.lock is held for as long as anybody writes
//! .lock-KEY     the right to build what has this key
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::private_file;
use crate::random::random_hex;

const PARTIAL: &str = ".partial-";
const LOCK: &str = ".lock-";

/// Held by a build for as long as it lives.
pub(crate) const BUSY: &str = "busy.lock";

#[derive(Clone, Debug)]
pub(crate) struct BuildFolder {
    path: PathBuf,
    /// Removes a folder as well as that goes: its files may be other ids'.
    remove_all: fn(&Path),
}

impl BuildFolder {
    pub(crate) fn at(path: PathBuf, remove_all: fn(&Path)) -> Self {
        Self { path, remove_all }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is finished, with its names.
    pub(crate) fn finished(&self) -> Vec<(String, PathBuf)> {
        self.entries(|name| !name.starts_with('.'))
    }

    pub(crate) fn entries(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
        fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
            .filter(|(name, _)| wanted(name))
            .collect()
    }

    /// The right to build, unless another process has it.
    pub(crate) fn try_lock(&self, key: &str) -> io::Result<Option<Flock<File>>> {
        let file = private_file::open(&self.path.join(format!("{LOCK}{key}")))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// A folder to build in and the lock that says so, after clearing away what killed builds left.
    pub(crate) fn begin(&self) -> io::Result<(PathBuf, Flock<File>)> {
        let tidy = self.tidy()?;
        self.remove_dead_partials(&tidy);
        let folder = self.path.join(format!("{PARTIAL}{}", random_hex(8)?));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let busy = private_file::create_locked(&folder.join(BUSY))?;
        Ok((folder, busy))
    }

    /// Held while partial folders are looked through or begun: one that was just made is not locked
    /// yet, and looks like a dead one.
    pub(crate) fn tidy(&self) -> io::Result<Tidy> {
        let folder = File::open(&self.path)?;
        let lock = Flock::lock(folder, FlockArg::LockExclusive);
        lock.map(Tidy).map_err(|(_, errno)| errno.into())
    }

    pub(crate) fn remove_dead_partials(&self, _: &Tidy) {
        for (_, folder) in self.entries(|name| name.starts_with(PARTIAL)) {
            let lives = File::open(folder.join(BUSY))
                .is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err());
            if !lives {
                (self.remove_all)(&folder);
            }
        }
    }

    /// Removes a folder so that nobody finds half of it; false when it cannot be touched.
    pub(crate) fn remove(&self, folder: &Path) -> bool {
        let Ok(doomed) = random_hex(8).map(|name| self.path.join(format!("{PARTIAL}{name}")))
        else {
            return false;
        };
        if fs::rename(folder, &doomed).is_err() {
            return false;
        }
        // What cannot be removed now is debris of that name for the next build or prune.
        (self.remove_all)(&doomed);
        true
    }
}

/// The right to look through partial folders.
pub(crate) struct Tidy(#[expect(dead_code, reason = "held, not read")] Flock<File>);
