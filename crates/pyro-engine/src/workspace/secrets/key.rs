//! The key that seals the secrets of all workspaces of a state folder.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use pyro_api::{Error, ErrorCode};
use zeroize::Zeroizing;

use crate::error::host_io;
use crate::private_file;

pub(super) const LENGTH: usize = 32;

pub(super) type Key = Zeroizing<[u8; LENGTH]>;

fn file_of(state_dir: &Path) -> PathBuf {
    state_dir.join("secrets.key")
}

/// The key there is, if there is one.
pub(super) fn get(state_dir: &Path) -> Result<Option<Key>, Error> {
    let path = file_of(state_dir);
    match File::open(&path) {
        Ok(mut file) => {
            check_mode(&path, &file)?;
            read(&mut file).map_err(|error| unreadable(&path, &error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// The key, made when it is missing. Two processes that make it at once make one.
pub(super) fn get_or_make(state_dir: &Path) -> Result<Key, Error> {
    let path = file_of(state_dir);
    let failed = |error: io::Error| unreadable(&path, &error);
    let file = private_file::open(&path).map_err(failed)?;
    check_mode(&path, &file)?;
    // Held for as long as 32 bytes take to be written.
    let mut file =
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))?;
    if let Some(key) = read(&mut file).map_err(failed)? {
        return Ok(key);
    }
    let mut key = Key::default();
    let mut make = |key: &mut Key| -> io::Result<()> {
        File::open("/dev/urandom")?.read_exact(&mut **key)?;
        // What a kill left of one, or somebody's editor: nothing was ever sealed with it.
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&**key)?;
        file.sync_all()?;
        // Its name must not be lost either, once something is sealed with it.
        File::open(state_dir)?.sync_all()
    };
    make(&mut key).map_err(failed)?;
    Ok(key)
}

/// `None` for a file that is not as long as a key.
fn read(file: &mut File) -> io::Result<Option<Key>> {
    if file.metadata()?.len() != LENGTH as u64 {
        return Ok(None);
    }
    let mut key = Key::default();
    file.read_exact(&mut *key)?;
    Ok(Some(key))
}

fn check_mode(path: &Path, file: &File) -> Result<(), Error> {
    let mode = file
        .metadata()
        .map_err(|error| unreadable(path, &error))?
        .mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::HostIo,
        "The key of the secrets is not used, because others can read it",
    )
    .because(format!(
        "{} has the mode {:o}",
        path.display(),
        mode & 0o777
    ))
    .hint(format!("chmod 600 {}", path.display())))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    host_io(
        format!(
            "The key of the secrets in {} could not be used",
            path.display()
        ),
        error,
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn there_is_one_key_and_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        assert!(get(folder.path()).unwrap().is_none());
        let keys: Vec<Key> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| get_or_make(folder.path()).unwrap()))
                .collect();
            makers
                .into_iter()
                .map(|maker| maker.join().unwrap())
                .collect()
        });
        assert!(keys.iter().all(|key| key == &keys[0]));
        assert_eq!(get(folder.path()).unwrap().unwrap(), keys[0]);
        let file = file_of(folder.path());
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(*keys[0], [0; LENGTH]);
        // What a kill left is made whole.
        std::fs::write(&file, "").unwrap();
        assert!(get(folder.path()).unwrap().is_none());
        assert_ne!(get_or_make(folder.path()).unwrap(), keys[0]);
    }

    #[test]
    fn a_key_that_others_may_read_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        get_or_make(folder.path()).unwrap();
        let file = file_of(folder.path());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        for error in [
            get(folder.path()).unwrap_err(),
            get_or_make(folder.path()).unwrap_err(),
        ] {
            assert!(
                error.hint.unwrap().starts_with("chmod 600"),
                "{:?}",
                error.causes
            );
        }
    }
}
