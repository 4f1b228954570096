//! The path that an export goes to.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::attributes::RootAttributes;
use super::error::ExportError;
use super::made_folders::MadeFolders;
use super::received::{ArtifactKind, Received};
use super::staging::Staging;
use super::unpack::unpack;
use crate::host_paths::expand_home;
use crate::progress::OnProgress;

/// A path of this host that an export goes to.
pub struct Destination {
    /// Absolute, with links resolved except for the last part.
    path: PathBuf,
    overwrite: bool,
    /// What is exported is called so, where it goes into a folder.
    name: OsString,
    home: Option<PathBuf>,
    /// It was written as a folder: a file goes into it, or nowhere.
    as_folder: bool,
    // Before `parents`, as fields are dropped in this order.
    staging: Option<Staging>,
    root: Option<RootAttributes>,
    parents: MadeFolders,
}

impl Destination {
    /// Looks at the path and makes the folders above it.
    ///
    /// Anything but an empty folder is replaced only with `overwrite`, and then as a whole; a link is
    /// replaced itself, as it may be one that a guest has chosen. A path that ends as a folder's does
    /// (`out/`, `..`) is one, or no file goes there; a link so written is followed. `name` is that of
    /// what is exported, `home` is for `~`, and is never replaced.
    pub fn prepare(
        path: &Path,
        name: &OsStr,
        home: Option<&Path>,
        overwrite: bool,
    ) -> Result<Self, ExportError> {
        let unwritable = |source| ExportError::Unwritable {
            path: path.to_owned(),
            source,
        };
        let named = std::path::absolute(expand_home(path, home)).map_err(unwritable)?;
        let as_folder = means_folder(path);
        let no_folder = || ExportError::NoFolder {
            path: path.to_owned(),
        };
        let at = |path: PathBuf, parents| Self {
            path,
            overwrite,
            name: name.to_owned(),
            home: home.map(Path::to_owned),
            as_folder,
            staging: None,
            root: None,
            parents,
        };
        if as_folder {
            match fs::canonicalize(&named) {
                Ok(real) if real.is_dir() => return Ok(at(real, MadeFolders::default())),
                Ok(_) => return Err(no_folder()),
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound => {}
                    io::ErrorKind::NotADirectory => return Err(no_folder()),
                    _ => return Err(unwritable(error)),
                },
            }
        }
        let (Some(parent), Some(last)) = (named.parent(), named.file_name()) else {
            return Err(ExportError::NoName {
                path: path.to_owned(),
            });
        };
        let last: OsString = last.to_owned();
        let parents = MadeFolders::make(parent).map_err(unwritable)?;
        let parent = fs::canonicalize(parent).map_err(unwritable)?;
        let destination = at(parent.join(last), parents);
        // A link to nothing.
        if as_folder && destination.there().map_err(unwritable)? == There::File {
            return Err(no_folder());
        }
        // What neither kind can replace is told before a guest is asked for anything.
        if !overwrite && destination.there().map_err(unwritable)? == There::File {
            return Err(ExportError::Exists {
                path: destination.path,
            });
        }
        Ok(destination)
    }

    /// Decides where something of this kind goes, and makes a private folder beside that.
    ///
    /// A file, or a link as itself, goes into a folder that is there; a folder takes the place of an
    /// empty one, or of any with `overwrite`. Neither ever takes the place of the other.
    pub fn stage(&mut self, kind: ArtifactKind) -> Result<&Staging, ExportError> {
        let sends_folder = kind == ArtifactKind::Folder;
        if !sends_folder {
            let is_folder = self.there().map_err(self.unwritable())?.is_folder();
            if is_folder {
                self.path.push(&self.name);
            } else if self.as_folder {
                return Err(ExportError::NoFolder {
                    path: self.path.clone(),
                });
            }
        }
        let (path, there) = (&self.path, self.there().map_err(self.unwritable())?);
        let path = || path.clone();
        match (sends_folder, there) {
            (_, There::Nothing) | (true, There::EmptyFolder) => {}
            (false, There::EmptyFolder | There::Folder) => {
                return Err(ExportError::IsFolder { path: path() });
            }
            (true, There::File) if self.path.symlink_metadata().is_ok_and(|it| it.is_file()) => {
                return Err(ExportError::IsFile { path: path() });
            }
            (true, There::Folder | There::File) | (false, There::File) => {
                if !self.overwrite {
                    return Err(ExportError::Exists { path: path() });
                }
                if is_protected(&self.path, self.home.as_deref()) {
                    return Err(ExportError::Protected { path: path() });
                }
            }
        }
        let parent = self.path.parent().unwrap_or(&self.path);
        let staging = Staging::create(parent).map_err(self.unwritable())?;
        Ok(self.staging.insert(staging))
    }

    fn there(&self) -> io::Result<There> {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(There::Nothing),
            Err(error) => Err(error),
            Ok(metadata) if !metadata.is_dir() => Ok(There::File),
            Ok(_) => match fs::read_dir(&self.path)?.next() {
                None => Ok(There::EmptyFolder),
                Some(_) => Ok(There::Folder),
            },
        }
    }

    fn unwritable(&self) -> impl Fn(io::Error) -> ExportError + use<> {
        let path = self.path.clone();
        move |source| ExportError::Unwritable {
            path: path.clone(),
            source,
        }
    }

    /// Unpacks an archive whose names are relative to what is exported; a lone file or link is
    /// named `.`.
    pub fn unpack(
        &mut self,
        from: impl Read,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Received, ExportError> {
        let name = self.name.clone();
        let stage = |kind| self.stage(kind).map(|staging| staging.folder().try_clone());
        let (received, root) = unpack(from, &name, stage, on_progress)?;
        self.root = root;
        Ok(received)
    }

    /// Puts what was unpacked in place.
    pub fn commit(mut self) -> Result<PathBuf, ExportError> {
        let failed = self.unwritable();
        let unwritable = |errno: Errno| failed(errno.into());
        let Some(content) = self.staging.as_ref().map(Staging::content) else {
            return Err(unwritable(Errno::ENOENT));
        };
        let is_folder = |path: &Path| fs::symlink_metadata(path).map(|it| it.is_dir()).ok();
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
                // It may have come there meanwhile.
                let alike = is_folder(&content) == is_folder(&self.path);
                let link = fs::symlink_metadata(&self.path).is_ok_and(|it| it.is_symlink());
                // Only one that is empty still can be removed like this.
                let emptied = alike
                    && fs::remove_dir(&self.path).is_ok()
                    && rename(RenameFlags::RENAME_NOREPLACE).is_ok();
                if !emptied {
                    if !self.overwrite || !(alike || link) {
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
        if let Some(root) = self.root.take() {
            root.apply().map_err(unwritable)?;
        }
        Ok(std::mem::take(&mut self.path))
    }
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Nothing,
    EmptyFolder,
    Folder,
    /// Or a link, wherever it leads, or something special.
    File,
}

impl There {
    fn is_folder(self) -> bool {
        matches!(self, Self::EmptyFolder | Self::Folder)
    }
}

/// Whether a path is written as that of a folder, as `out/`, `..` and `/` are.
fn means_folder(path: &Path) -> bool {
    let mut parts = path.as_os_str().as_bytes().rsplit(|&byte| byte == b'/');
    matches!(parts.next(), Some(b"" | b"." | b"..")) && !path.as_os_str().is_empty()
}

/// Whether replacing it would take away a folder that nobody means.
fn is_protected(path: &Path, home: Option<&Path>) -> bool {
    let home = home.and_then(|home| fs::canonicalize(home).ok());
    let here = std::env::current_dir().ok();
    [home, here]
        .into_iter()
        .flatten()
        .any(|folder| folder.starts_with(path))
}
