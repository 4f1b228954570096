//! Stamps, safe writes, and removal of trees: what the cache does with files.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{CatalogError, namespace};

/// Tells cheaply whether a file is still the one that was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    pub(crate) inode: u64,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            size: metadata.size(),
            mtime_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
            inode: metadata.ino(),
        })
    }
}

/// Compares a file with the stamp that its manifest has for it.
pub(crate) fn check_stamp(path: &Path, expected: Stamp) -> Result<(), CatalogError> {
    let found = check_size(path, expected)?;
    if found != expected {
        let stamp = |s: Stamp| format!("mtime {} ns, inode {}", s.mtime_ns, s.inode);
        return Err(CatalogError::damaged(path, stamp(expected), stamp(found)));
    }
    Ok(())
}

/// Compares the size alone, which is all that can be said of a copy.
pub(crate) fn check_size(path: &Path, expected: Stamp) -> Result<Stamp, CatalogError> {
    let found = match Stamp::of(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CatalogError::damaged(path, "a file", "none"));
        }
        Err(error) => return Err(CatalogError::reading("access", path)(error)),
    };
    if found.size != expected.size {
        let bytes = |stamp: Stamp| format!("{} bytes", stamp.size);
        return Err(CatalogError::damaged(path, bytes(expected), bytes(found)));
    }
    Ok(found)
}

/// A word that no other process on this cache uses.
pub(crate) fn unique() -> String {
    // The standard library seeds each `RandomState` from the kernel's random numbers.
    let random = RandomState::new().hash_one(std::process::id());
    format!("{}-{:08x}", std::process::id(), random as u32)
}

/// Writes a file so that it has its whole contents or is not there, even after a crash.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let temporary = folder.join(format!(".tmp-{}", unique()));
    let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync(folder)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Flushes a file or a folder to the disk.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a file read-only and flushes it: nothing in the cache is ever written again.
pub(crate) fn seal(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o444))?;
    sync(path)
}

/// The same for what is to be run.
pub(crate) fn seal_program(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o555))?;
    sync(path)
}

/// A temporary file of [`write_whole`] that its writer, who needs milliseconds, did not rename
/// within a minute.
pub(crate) fn is_abandoned(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let age = path
        .metadata()
        .and_then(|metadata| metadata.modified())
        // A clock that was set back shows times ahead.
        .map(|made| made.elapsed().unwrap_or_else(|ahead| ahead.duration()));
    name.starts_with(".tmp-") && age.is_ok_and(|age| age.as_secs() > 60)
}

/// Removes a file or a tree. Missing is fine.
///
/// A tree that a killed build left has files of ids that only exist in a namespace like the
/// one it was built in, so where an ordinary user is refused, the removal goes in there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            namespace::remove_tree(path).map_err(|_| error)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn what_somebody_writes_is_told_from_debris_whatever_the_clock_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".tmp-1");
        let file = fs::File::create(&path).unwrap();
        let now = SystemTime::now();
        let day = Duration::from_secs(86_400);
        for (time, abandoned) in [(now, false), (now - day, true), (now + day, true)] {
            file.set_modified(time).unwrap();
            assert_eq!(is_abandoned(&path), abandoned, "{time:?}");
        }
    }
}
