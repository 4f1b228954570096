//! The path that an export goes to.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::Received;
use super::error::ExportError;
use super::staging::Staging;
use super::unpack::{Finishing, unpack};
use crate::workspace::names::expand_home;

/// The name of what was unpacked in the private folder.
pub(super) const CONTENT: &str = "content";

pub(crate) struct Destination {
    /// Absolute, with links resolved except for the last part.
    path: PathBuf,
    overwrite: bool,
    // Before `parents`, as fields are dropped in this order.
    staging: Staging,
    finishing: Option<Finishing>,
    parents: MadeFolders,
}

impl Destination {
    /// Looks at the path, makes the folders above it, and a private one beside it.
    ///
    /// Anything but an empty folder is replaced only with `overwrite`, and then as a whole; a link
    /// is replaced itself. `home` is for `~`, and is never replaced.
    pub(crate) fn prepare(
        path: &Path,
        home: Option<&Path>,
        overwrite: bool,
    ) -> Result<Self, ExportError> {
        let unwritable = |source| ExportError::Unwritable {
            path: path.to_owned(),
            source,
        };
        let named = std::path::absolute(expand_home(path, home)).map_err(unwritable)?;
        let (Some(parent), Some(name)) = (named.parent(), named.file_name()) else {
            return Err(ExportError::NoName {
                path: path.to_owned(),
            });
        };
        let name: OsString = name.to_owned();
        let parents = MadeFolders::make(parent).map_err(unwritable)?;
        let parent = fs::canonicalize(parent).map_err(unwritable)?;
        let path = parent.join(name);
        if !is_free(&path).map_err(unwritable)? {
            if !overwrite {
                return Err(ExportError::Exists { path });
            }
            if is_precious(&path, home) {
                return Err(ExportError::Precious { path });
            }
        }
        let staging = Staging::create(&parent).map_err(unwritable)?;
        Ok(Self {
            path,
            overwrite,
            staging,
            finishing: None,
            parents,
        })
    }

    /// Unpacks an archive whose names are relative to what is exported; a lone file or link is
    /// named `.`. `watch` is told the entries and bytes so far, and may cancel.
    pub(crate) fn unpack(
        &mut self,
        from: impl Read,
        watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Received, ExportError> {
        let (received, finishing) = unpack(from, self.staging.folder(), watch)?;
        self.finishing = finishing;
        Ok(received)
    }

    /// Where to make what is put in place afterwards, for those who unpack nothing.
    pub(crate) fn content(&self) -> PathBuf {
        self.staging.path().join(CONTENT)
    }

    /// Puts what was unpacked in place.
    pub(crate) fn commit(mut self) -> Result<PathBuf, ExportError> {
        let content = self.content();
        let unwritable = |errno: Errno| ExportError::Unwritable {
            path: self.path.clone(),
            source: errno.into(),
        };
        let rename = |flags| {
            renameat2(
                AT_FDCWD,
                content.as_path(),
                AT_FDCWD,
                self.path.as_path(),
                flags,
            )
        };
        match rename(RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                // Only one that is empty still can be removed like this.
                let emptied = fs::remove_dir(&self.path).is_ok()
                    && rename(RenameFlags::RENAME_NOREPLACE).is_ok();
                if !emptied {
                    if !self.overwrite {
                        return Err(ExportError::Exists {
                            path: self.path.clone(),
                        });
                    }
                    // What was there goes with the private folder.
                    match rename(RenameFlags::RENAME_EXCHANGE) {
                        Ok(()) => {}
                        Err(Errno::EINVAL | Errno::ENOSYS) => {
                            return Err(ExportError::NoSwap {
                                path: self.path.clone(),
                            });
                        }
                        Err(errno) => return Err(unwritable(errno)),
                    }
                }
            }
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                return Err(ExportError::NoSwap {
                    path: self.path.clone(),
                });
            }
            Err(errno) => return Err(unwritable(errno)),
        }
        self.parents.keep();
        // A folder that its owner may not write cannot be moved, so it gets its mode here.
        if let Some(finishing) = self.finishing.take() {
            finishing.apply().map_err(unwritable)?;
        }
        Ok(std::mem::take(&mut self.path))
    }
}

/// Whether nothing that counts is there.
fn is_free(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => Ok(fs::read_dir(path)?.next().is_none()),
        Ok(_) => Ok(false),
    }
}

/// Whether replacing it would take away a folder that nobody means.
fn is_precious(path: &Path, home: Option<&Path>) -> bool {
    let home = home.and_then(|home| fs::canonicalize(home).ok());
    let here = std::env::current_dir().ok();
    [home, here]
        .into_iter()
        .flatten()
        .any(|folder| folder.starts_with(path))
}

/// Folders that were made, and are removed again unless they are kept or something is in them.
struct MadeFolders(Vec<PathBuf>);

impl MadeFolders {
    fn make(folder: &Path) -> io::Result<Self> {
        let missing: Vec<&Path> = folder
            .ancestors()
            .take_while(|folder| !folder.exists())
            .collect();
        let mut made = Self(Vec::new());
        for folder in missing.into_iter().rev() {
            match fs::create_dir(folder) {
                Ok(()) => made.0.push(folder.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        // That it is a folder, and not a file, shows when it is opened as one.
        File::open(folder.join("."))?;
        Ok(made)
    }

    fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}
