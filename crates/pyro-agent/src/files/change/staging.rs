//! The folder in which a change is prepared, and from which it is undone. There is at most one:
//! what is there when a change begins, or when the agent starts, was left by a crash.
//!
//! ```text
//! change/new/       what was unpacked; what it replaces goes here in exchange
//! change/old/       what was removed, by number
//! change/journal    while it exists, what was done must be undone
//! change/index      the next baseline, complete once the journal is gone
//! ```

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::console;
use crate::files::error::FileError;
use crate::files::layout::{Layout, open_folder};

pub(crate) struct StagingArea {
    path: PathBuf,
    keep: bool,
}

impl StagingArea {
    pub(crate) fn create(layout: &Layout) -> Result<Self, FileError> {
        layout.make_state()?;
        let area = Self {
            path: layout.change(),
            keep: false,
        };
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        [
            area.path.clone(),
            area.path.join("new"),
            area.path.join("old"),
        ]
        .iter()
        .try_for_each(|folder| builder.create(folder))
        .map_err(|source| FileError::at("create", "the folder to unpack into", source))?;
        Ok(area)
    }

    /// What a crash left; `None` when there is nothing.
    pub(crate) fn leftover(layout: &Layout) -> Option<Self> {
        let path = layout.change();
        path.symlink_metadata().is_ok().then_some(Self {
            path,
            // Until it is known what to do with it.
            keep: true,
        })
    }

    pub(crate) fn new_tree(&self) -> Result<OwnedFd, FileError> {
        self.open("new")
    }

    pub(crate) fn old_files(&self) -> Result<OwnedFd, FileError> {
        self.open("old")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.path.join("index")
    }

    /// Whether the area stays on the disk, because it holds what could not be put back.
    pub(crate) fn keep(&mut self, keep: bool) {
        self.keep = keep;
    }

    fn open(&self, name: &str) -> Result<OwnedFd, FileError> {
        open_folder(&self.path.join(name))
            .map_err(|source| FileError::at("open", "the folder to unpack into", source))
    }
}

impl Drop for StagingArea {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = remove_all(&self.path) {
            let path = self.path.display();
            console::report(format_args!("cannot remove {path}: {error}"));
        }
    }
}

/// Removes a folder and all that is in it. Who is not root may have to unlock folders first.
fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(path)?;
            fs::remove_dir_all(path)
        }
        removed => removed,
    }
}

fn unlock(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}
