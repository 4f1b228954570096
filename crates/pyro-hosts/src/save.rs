//! Puts a changed file in the place of the old one, of which a copy is kept.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::config_file::{ConfigFile, Scope};
use crate::error::HostError;

/// What the name of a copy ends in.
const BACKUP: &str = "pyro-backup";

/// More copies than these are not made.
const MAX_BACKUPS: u32 = 1000;

/// What a file says; `None` when there is none.
pub(crate) fn read(file: &Path) -> Result<Option<Vec<u8>>, HostError> {
    let fault = |source| HostError::Io {
        file: file.to_owned(),
        doing: "read",
        source,
    };
    match fs::metadata(file) {
        Ok(found) if found.is_file() => fs::read(file).map(Some).map_err(fault),
        // Reading from a pipe would wait for ever.
        Ok(_) => Err(fault(io::Error::other("it is not a file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(file) {
            Ok(_) => Err(fault(io::Error::other(
                "it is a link to a file that does not exist",
            ))),
            Err(_) => Ok(None),
        },
        Err(error) => Err(fault(error)),
    }
}

/// Writes the file and returns the path of the copy of what it said before.
pub(crate) fn save(
    config_file: &ConfigFile,
    before: Option<&[u8]>,
    after: &str,
) -> Result<Option<PathBuf>, HostError> {
    let fault = |source| HostError::Io {
        file: config_file.file.clone(),
        doing: "written",
        source,
    };
    // A link stays a link: people keep such files elsewhere.
    let file = match before {
        Some(_) => fs::canonicalize(&config_file.file).map_err(fault)?,
        None => config_file.file.clone(),
    };
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(fault)?;
    let old = before
        .map(|_| fs::metadata(&file))
        .transpose()
        .map_err(fault)?;
    // It could be replaced all the same, but somebody meant it to stay as it is.
    if old.as_ref().is_some_and(|old| old.mode() & 0o222 == 0) {
        return Err(HostError::ReadOnly { file });
    }
    let mode = match (&old, config_file.scope) {
        (Some(old), _) => old.mode() & 0o7777,
        // Others work with a project's file; a person's may come to hold keys.
        (None, Some(Scope::Project)) => 0o644,
        (None, _) => 0o600,
    };
    let owner = old.as_ref().map(|old| (old.uid(), old.gid()));
    let backup = before.map(|bytes| copy(&file, bytes, mode, owner));
    let backup = backup.transpose().map_err(fault)?;
    let written = write(folder, after.as_bytes(), mode, owner).map_err(fault)?;
    // Nobody locks these files; this makes the gap a very small one.
    if read(&file)?.as_deref() != before {
        if let Some(backup) = &backup {
            let _ = fs::remove_file(backup);
        }
        return Err(HostError::Changed {
            file: config_file.file.clone(),
        });
    }
    let placed = match before {
        Some(_) => written.persist(&file),
        None => written.persist_noclobber(&file),
    };
    placed.map_err(|error| fault(error.error))?;
    // The new name is on the disk once the folder is.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(backup)
}

/// Removes a file that says nothing more.
pub(crate) fn remove(config_file: &ConfigFile, before: &[u8]) -> Result<(), HostError> {
    let fault = |source| HostError::Io {
        file: config_file.file.clone(),
        doing: "removed",
        source,
    };
    let about = fs::metadata(&config_file.file).map_err(fault)?;
    if about.mode() & 0o222 == 0 {
        return Err(HostError::ReadOnly {
            file: config_file.file.clone(),
        });
    }
    if read(&config_file.file)?.as_deref() != Some(before) {
        return Err(HostError::Changed {
            file: config_file.file.clone(),
        });
    }
    fs::remove_file(&config_file.file).map_err(fault)
}

/// Removes so many folders around a file, as far as they are empty.
pub(crate) fn remove_empty_folders(file: &Path, folders: usize) {
    for folder in file.ancestors().skip(1).take(folders) {
        // One with anything in it stays, and those around it.
        if fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

/// The copies of a file that were kept beside it.
pub(crate) fn backups(file: &Path) -> Vec<PathBuf> {
    // Beside the file itself, where that is a link.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    (1..=MAX_BACKUPS)
        .map(|number| sibling(&file, BACKUP, number))
        .filter(|copy| copy.is_file())
        .collect()
}

/// Removes a copy.
pub(crate) fn delete_backup(copy: &Path) -> Result<(), HostError> {
    fs::remove_file(copy).map_err(|source| HostError::Io {
        file: copy.to_owned(),
        doing: "removed",
        source,
    })
}

/// Gives a file another name, which is returned.
pub(crate) fn move_aside(file: &Path) -> Result<PathBuf, HostError> {
    let fault = |source| HostError::Io {
        file: file.to_owned(),
        doing: "renamed",
        source,
    };
    for number in 1..=MAX_BACKUPS {
        let aside = sibling(file, "broken", number);
        // A link cannot be put over a file that is there.
        match fs::hard_link(file, &aside) {
            Ok(()) => {
                fs::remove_file(file).map_err(fault)?;
                return Ok(aside);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fault(error)),
        }
    }
    Err(fault(io::Error::other(
        "there are too many renamed files beside it",
    )))
}

fn copy(file: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut written = write(folder, bytes, mode, owner)?;
    for number in 1..=MAX_BACKUPS {
        let backup = sibling(file, BACKUP, number);
        match written.persist_noclobber(&backup) {
            Ok(_) => return Ok(backup),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                written = error.file;
            }
            Err(error) => return Err(error.error),
        }
    }
    Err(io::Error::other("there are too many backups beside it"))
}

/// `config.toml.WORD`, then `config.toml.WORD.2`.
fn sibling(file: &Path, word: &str, number: u32) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{word}"));
    if number > 1 {
        name.push(format!(".{number}"));
    }
    file.with_file_name(name)
}

/// A whole file without a name yet; it goes away when nobody gives it one.
fn write(
    folder: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<NamedTempFile> {
    let mut written = tempfile::Builder::new()
        .prefix(".pyro-")
        .tempfile_in(folder)?;
    written.write_all(bytes)?;
    if let Some((user, group)) = owner {
        let made = written.as_file().metadata()?;
        if (made.uid(), made.gid()) != (user, group) {
            fchown(written.as_file(), Some(user), Some(group))?;
        }
    }
    written
        .as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    written.as_file().sync_all()?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_file(file: &Path) -> ConfigFile {
        ConfigFile {
            file: file.to_owned(),
            scope: Some(Scope::User),
            project: None,
        }
    }

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_file_is_the_persons_alone_and_a_projects_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep down/config.json");
        assert_eq!(save(&config_file(&file), None, "{}").unwrap(), None);
        assert_eq!(mode(&file), 0o600);
        let shared = ConfigFile {
            file: folder.path().join("shared"),
            scope: Some(Scope::Project),
            project: None,
        };
        save(&shared, None, "{}").unwrap();
        assert_eq!(mode(&shared.file), 0o644);
    }

    #[test]
    fn what_is_read_only_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "1").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
        let refused = save(&config_file(&file), Some(b"1"), "2");
        assert!(matches!(refused, Err(HostError::ReadOnly { .. })));
        assert_eq!(fs::read_to_string(&file).unwrap(), "1");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn mode_and_link_stay_and_every_version_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "1").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let first = save(&config_file(&link), Some(b"1"), "2").unwrap().unwrap();
        let second = save(&config_file(&link), Some(b"2"), "3").unwrap().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "3");
        assert_eq!(fs::read_to_string(&first).unwrap(), "1");
        assert_eq!(fs::read_to_string(&second).unwrap(), "2");
        assert!(
            second.ends_with("real.pyro-backup.2"),
            "{}",
            second.display()
        );
        assert_eq!((mode(&real), mode(&first)), (0o640, 0o640));
        // Nothing else lies around.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn what_another_program_wrote_meanwhile_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        fs::write(&file, "theirs").unwrap();
        let refused = save(&config_file(&file), Some(b"old"), "ours");
        assert!(matches!(refused, Err(HostError::Changed { .. })));
        let refused = save(&config_file(&file), None, "ours");
        assert!(matches!(refused, Err(HostError::Changed { .. })));
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).is_err());
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(&pipe).is_err());
        std::os::unix::fs::symlink("gone", &link).unwrap();
        assert!(read(&link).is_err());
        assert!(read(&folder.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn a_broken_file_is_kept_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        for (number, name) in [(1, "config.broken"), (2, "config.broken.2")] {
            fs::write(&file, number.to_string()).unwrap();
            let aside = move_aside(&file).unwrap();
            assert!(aside.ends_with(name) && !file.exists());
            assert_eq!(fs::read_to_string(aside).unwrap(), number.to_string());
        }
    }
}
