//! A directory of the cache that is still being built.
//!
//! It holds a locked file for as long as its builder lives, which tells a running build from
//! what a killed one left. It removes itself when dropped; what is to stay is renamed out of it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lock::Lock;
use crate::{CatalogError, files};

const PREFIX: &str = ".partial-";
const LOCK: &str = "lock";

#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    // Let go only after `drop` removed the directory, as fields are dropped last.
    _lock: Lock,
}

impl Partial {
    pub(crate) fn create(platform_dir: &Path, subject: &str) -> Result<Self, CatalogError> {
        let path = platform_dir.join(format!("{PREFIX}{subject}-{}", files::unique()));
        fs::create_dir(&path).map_err(CatalogError::writing("create", &path))?;
        let lock = match Lock::try_acquire(&path.join(LOCK)) {
            Ok(Some(lock)) => lock,
            failed => {
                let _ = fs::remove_dir_all(&path);
                failed?;
                return Err(CatalogError::damaged(
                    &path,
                    "a lock of our own",
                    "one taken",
                ));
            }
        };
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a directory in it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, CatalogError> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(CatalogError::writing("create", &path))?;
        Ok(path)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // What cannot be removed now is found dead by the next pull or prune.
        let _ = files::remove(&self.path);
    }
}

/// Whether a directory of that name is a partial one.
pub(crate) fn is_partial(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Whether a partial directory of that name may belong to a pull of `subject`.
///
/// `debian_12` also claims those of `debian_12-base`, so this is only good for keeping.
pub(crate) fn may_belong_to(name: &str, subject: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|rest| rest.starts_with(subject))
}

/// Whether nobody works on it any more.
///
/// Only to be asked under the environment's lock, or for what no running build can have
/// created just now: a new one is without its lock for an instant.
pub(crate) fn is_dead(path: &Path) -> bool {
    let lock = path.join(LOCK);
    !lock.exists() || matches!(Lock::try_acquire(&lock), Ok(Some(_)))
}

/// Removes what killed pulls of `subject` left. The caller holds the environment's lock.
pub(crate) fn remove_dead(platform_dir: &Path, subject: &str) {
    let prefix = format!("{PREFIX}{subject}-");
    let entries = fs::read_dir(platform_dir).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        // After the prefix comes a pid: `debian_12-` must not take those of `debian_12-base-`.
        let ours = name
            .to_str()
            .and_then(|name| name.strip_prefix(&prefix))
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
        if ours && is_dead(&entry.path()) {
            let _ = files::remove(&entry.path());
        }
    }
}

/// A name for what is to be removed: once renamed, it is dead and nobody uses it.
pub(crate) fn trash_path(platform_dir: &Path) -> PathBuf {
    platform_dir.join(format!("{PREFIX}pruned-{}", files::unique()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_one_is_kept_a_dead_one_goes_and_a_dropped_one_removes_itself() {
        let folder = tempfile::tempdir().unwrap();
        let live = Partial::create(folder.path(), "debian_12").unwrap();
        let dead = folder.path().join(".partial-debian_12-1-0");
        let other = folder.path().join(".partial-debian_12-base-1-0");
        fs::create_dir_all(dead.join("build")).unwrap();
        fs::create_dir_all(&other).unwrap();

        remove_dead(folder.path(), "debian_12");
        assert!(live.path().exists());
        assert!(!dead.exists());
        assert!(other.exists());

        let path = live.path().to_owned();
        drop(live);
        assert!(!path.exists());
    }
}
