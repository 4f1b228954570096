//! Where the workspace is, and the agent's own files about it: on the same disk, never inside.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;

use crate::backend::{Backend, WORKSPACE};
use crate::console;
use crate::files::error::FileError;
use crate::files::folder;
use crate::files::links::Links;

const GUEST_STATE: &str = "/var/lib/pyro";

/// Removes what agents of other guests have noted on a disk that is new to this one, as that of an environment
/// which was made of a workspace. A guest without that is of use all the same.
pub(crate) fn forget_others() {
    match fs::remove_dir_all(GUEST_STATE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            console::report(format_args!("cannot remove {GUEST_STATE}: {error}"));
        }
        _ => {}
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    workspace: PathBuf,
    state: PathBuf,
    disk: Disk,
    backend: Backend,
}

/// Whose the disk is that the workspace is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// Ours, so that flushing it and holding it back harms nobody else.
    Ours,
    /// The host's, and all that is written to it here comes from processes that are ours. The host
    /// flushes it: it can do so for all files at once.
    Behind,
    /// The disk of a sandbox, without its kernel in between. What runs in the sandbox is nobody's that
    /// could be stopped from here.
    Outside,
    /// The host's, to which others write as well.
    Shared,
}

impl Layout {
    pub(crate) fn new(backend: &Backend) -> Self {
        match backend {
            Backend::Vm | Backend::Sandbox | Backend::Files => Self {
                workspace: WORKSPACE.into(),
                state: GUEST_STATE.into(),
                disk: match backend {
                    Backend::Vm => Disk::Ours,
                    Backend::Files => Disk::Outside,
                    _ => Disk::Behind,
                },
                backend: backend.clone(),
            },
            Backend::Process { folder } => {
                let mut name = folder.file_name().unwrap_or_default().to_owned();
                name.push(".pyro");
                Self {
                    workspace: folder.clone(),
                    state: folder.parent().unwrap_or(folder).join(name),
                    disk: Disk::Shared,
                    backend: backend.clone(),
                }
            }
        }
    }

    /// The same on a disk of another kind.
    #[cfg(test)]
    pub(crate) fn on(self, disk: Disk) -> Self {
        Self { disk, ..self }
    }

    /// Whose users there are.
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(crate) fn disk(&self) -> Disk {
        self.disk
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.state.join("index")
    }

    /// Where a new version of the index is written.
    pub(crate) fn next_index(&self) -> PathBuf {
        self.state.join("index.new")
    }

    /// What belongs to the one change that is under way.
    pub(crate) fn change(&self) -> PathBuf {
        self.state.join("change")
    }

    /// Makes the folder of the state, which outlives the agent.
    pub(crate) fn make_state(&self) -> Result<(), FileError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.state)
            .map_err(|source| FileError::at("create", self.state.display().to_string(), source))
    }

    /// The workspace's folder itself. A link in its place is not followed.
    pub(crate) fn open_workspace(&self) -> Result<OwnedFd, FileError> {
        open_folder(&self.workspace).map_err(|source| match source.raw_os_error() {
            Some(libc::ENOENT) => FileError::not_found(b""),
            Some(libc::ENOTDIR | libc::ELOOP) => FileError::bad_path(b"", "it is not a folder"),
            _ => FileError::io("open", b"", source),
        })
    }

    /// The same, made anew when it is missing.
    pub(crate) fn make_workspace(&self) -> Result<OwnedFd, FileError> {
        match DirBuilder::new().mode(0o755).create(&self.workspace) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(FileError::io("create", b"", source))
            }
            _ => self.open_workspace(),
        }
    }

    /// What follows links that stay in the workspace.
    pub(crate) fn links(&self) -> Result<Links, FileError> {
        Ok(Links::new(self.open_workspace()?, self.workspace.clone()))
    }
}

/// Opens a folder for reading it, but not through a link.
pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(folder::open(AT_FDCWD, path.as_os_str().as_bytes())?)
}
