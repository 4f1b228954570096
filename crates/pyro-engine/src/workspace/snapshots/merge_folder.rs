//! The folder of a layer that is being made while others may use, and sweep, the workspace.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use pyro_disk::layers;

use crate::workspace::folder::WorkspaceFolder;
use crate::workspace::layers::remove_all;

/// Locked for as long as this lives, so that nobody takes it for debris, and removed with it.
pub(super) struct MergeFolder {
    folder: PathBuf,
    /// What the layer is to be called.
    name: String,
    held: Flock<File>,
}

impl MergeFolder {
    /// To be made while the workspace is held exclusively: whoever holds it next may sweep.
    pub(super) fn new(folder: &WorkspaceFolder, name: String) -> io::Result<Self> {
        let own = folder.merging(&name);
        DirBuilder::new().mode(0o700).create(&own)?;
        let held = Flock::lock(File::open(&own)?, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| errno)?;
        Ok(Self {
            folder: own,
            name,
            held,
        })
    }

    /// Where the layer is made.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// What another process keeps open for as long as it writes there, should this one be killed.
    pub(super) fn busy(&self) -> io::Result<OwnedFd> {
        Ok(self.held.try_clone()?.into())
    }

    /// Puts the layer where a disk can have it, for good; returns its name.
    pub(super) fn hand_over(self, folder: &WorkspaceFolder) -> io::Result<String> {
        let path = folder.layer(&self.name);
        fs::rename(self.path(), &path)?;
        layers::sync(&path)?;
        Ok(self.name.clone())
    }
}

impl Drop for MergeFolder {
    fn drop(&mut self) {
        let _ = remove_all(&self.folder);
    }
}

/// Removes what a killed process was making.
pub(crate) fn remove_abandoned(folder: &WorkspaceFolder) {
    for place in folder.all_merging() {
        if is_abandoned(&place) {
            let _ = remove_all(&place);
        }
    }
}

fn is_abandoned(place: &Path) -> bool {
    File::open(place).is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok())
}
