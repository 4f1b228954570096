//! The private folder that an export is unpacked in, beside the place where it goes.
//!
//! It is locked while its maker lives, so that one without a lock is known for debris.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;

const PREFIX: &str = ".pyro-export-";

/// How often a new folder may be taken for debris before anything is wrong with the system.
const TRIES: u32 = 10;

/// The name of what is put in place afterwards, in the private folder.
pub(super) const CONTENT: &str = "content";

/// A private folder, until it is dropped.
pub struct Staging {
    path: PathBuf,
    /// The open folder, locked.
    folder: Flock<File>,
}

impl Staging {
    /// Makes one in this folder, after what killed exports left there was removed.
    pub(super) fn create(parent: &Path) -> io::Result<Self> {
        remove_debris(parent);
        for _ in 0..TRIES {
            let path = parent.join(format!("{PREFIX}{}", random_hex()?));
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            // Between making and locking it, another export may find it and take it for debris.
            if let Some(folder) = lock(&path)?
                && is_still(&folder, &path)
            {
                return Ok(Self { path, folder });
            }
        }
        Err(io::Error::other("other exports remove every new folder"))
    }

    /// Where to make what is put in place afterwards.
    pub fn content(&self) -> PathBuf {
        self.path.join(CONTENT)
    }

    pub(super) fn folder(&self) -> &File {
        &self.folder
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next export to this place.
        let _ = remove(&self.path);
    }
}

fn random_hex() -> io::Result<String> {
    let mut random = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn remove_debris(parent: &Path) {
    let own = nix::unistd::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !is_staging(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        let is_ours = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.uid() == own);
        if !is_ours {
            continue;
        }
        // The lock is held until it is gone, so that its maker, should it live, notices.
        if let Ok(Some(_lock)) = lock(&path) {
            let _ = remove(&path);
        }
    }
}

fn is_staging(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// `None` when somebody else holds the lock, or the folder is gone.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = match nix::fcntl::open(path, flags, Mode::empty()) {
        Ok(folder) => File::from(folder),
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

fn is_still(folder: &File, path: &Path) -> bool {
    match (folder.metadata(), fs::symlink_metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Removes a tree, also one with folders that its owner may not write.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn open_up(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}
