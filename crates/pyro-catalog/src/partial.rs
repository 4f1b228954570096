//! A directory of the cache that is still being built.
//!
//! It holds a locked file for as long as its builder lives, which tells a running build from
//! what a killed one left. It removes itself when dropped; what is to stay is renamed out of it.
//!
//! What it takes the place of goes into it: in one step where the file system can, and in two elsewhere. A kill
//! between these two leaves a place empty, and whoever removes the directory later fills it again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::environments::KEPT_PREFIX;
use crate::lock::Lock;
use crate::{CatalogError, files};

const PREFIX: &str = ".partial-";
const LOCK: &str = "lock";

/// What was moved out of the way, where that took a step of its own.
const OLD: &str = "old";

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

    /// Puts a directory of this one in the place of another, which goes with this one.
    pub(crate) fn replace(&self, place: &Path, fresh: &Path) -> io::Result<()> {
        match renameat2(
            AT_FDCWD,
            fresh,
            AT_FDCWD,
            place,
            RenameFlags::RENAME_EXCHANGE,
        ) {
            Ok(()) => Ok(()),
            // Not every file system can.
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                self.replace_in_two_steps(place, fresh)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn replace_in_two_steps(&self, place: &Path, fresh: &Path) -> io::Result<()> {
        let old = self.path.join(OLD);
        fs::rename(place, &old)?;
        fs::rename(fresh, place).inspect_err(|_| {
            // Where this fails, too, `remove` tries again.
            let _ = fs::rename(&old, place);
        })
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
        let _ = remove(&self.path);
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
            let _ = remove(&entry.path());
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    put_back(path)?;
    files::remove(path)
}

/// Puts a kept environment back that was moved out of the way for another one that never came; tells its name.
/// The caller holds its lock. All others can be had again.
pub(crate) fn put_back(partial: &Path) -> io::Result<Option<String>> {
    let (Some(subject), Some(folder)) = (kept_subject(partial), partial.parent()) else {
        return Ok(None);
    };
    let (old, place) = (partial.join(OLD), folder.join(subject));
    if old.symlink_metadata().is_err() || place.symlink_metadata().is_ok() {
        return Ok(None);
    }
    fs::rename(&old, &place)?;
    files::sync(folder)?;
    Ok(Some(subject.to_owned()))
}

/// Of which kept environment a partial directory is. The directory of such a one is called like its subject.
fn kept_subject(partial: &Path) -> Option<&str> {
    let name = partial.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    // After it come a pid and a random number.
    let subject = name.rsplitn(3, '-').nth(2)?;
    subject.starts_with(KEPT_PREFIX).then_some(subject)
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
    /// A place with something in it, what is to be there, and the partial directory that has this.
    fn replacing(platform_dir: &Path) -> (PathBuf, PathBuf, Partial) {
        let place = platform_dir.join("kept-0123");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("file"), "old").unwrap();
        let partial = Partial::create(platform_dir, "kept-0123").unwrap();
        let fresh = partial.folder("install").unwrap();
        fs::write(fresh.join("file"), "new").unwrap();
        (place, fresh, partial)
    }

    fn is(place: &Path) -> String {
        fs::read_to_string(place.join("file")).unwrap()
    }

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn what_takes_a_place_is_there_and_the_other_goes_in_one_step_and_in_two() {
        for replace in [Partial::replace, Partial::replace_in_two_steps] {
            let folder = tempfile::tempdir().unwrap();
            let (place, fresh, partial) = replacing(folder.path());
            replace(&partial, &place, &fresh).unwrap();
            assert_eq!(is(&place), "new");
            drop(partial);
            assert_eq!((is(&place), count(folder.path())), ("new".to_owned(), 1));
        }
    }

    #[test]
    fn what_does_not_come_leaves_what_there_was() {
        for replace in [Partial::replace, Partial::replace_in_two_steps] {
            let folder = tempfile::tempdir().unwrap();
            let (place, fresh, partial) = replacing(folder.path());
            fs::remove_dir_all(&fresh).unwrap();
            replace(&partial, &place, &fresh).unwrap_err();
            assert_eq!(is(&place), "old");
            drop(partial);
            assert_eq!((is(&place), count(folder.path())), ("old".to_owned(), 1));
        }
    }

    #[test]
    fn a_kept_one_that_a_kill_left_aside_comes_back_unless_its_place_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (place, _, partial) = replacing(folder.path());
        drop(partial);
        let dead = folder.path().join(".partial-kept-0123-1-00000000");
        fs::create_dir(&dead).unwrap();
        fs::rename(&place, dead.join(OLD)).unwrap();
        remove_dead(folder.path(), "kept-0123");
        assert_eq!((is(&place), count(folder.path())), ("old".to_owned(), 1));

        fs::create_dir_all(dead.join(OLD)).unwrap();
        remove_dead(folder.path(), "kept-0123");
        assert_eq!((is(&place), count(folder.path())), ("old".to_owned(), 1));

        // What can be had again is not.
        let other = folder.path().join(".partial-debian_12-1-00000000");
        fs::create_dir_all(other.join(OLD)).unwrap();
        remove_dead(folder.path(), "debian_12");
        assert_eq!(count(folder.path()), 1);
    }
}
