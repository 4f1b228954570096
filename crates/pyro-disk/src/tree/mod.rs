//! Files of a workspace without its VM: contents of the baseline for text patches, what is in a
//! snapshot, and the disks of stopped workspaces.
//!
//! A [`Tree`] is a folder of a guest's disk, read from its layers, or a plain folder of this host
//! where commands run without a VM. Paths are relative to it, plain, and no link is followed on
//! the way. A disk may have been written by a hostile guest, so nothing it says is believed: it
//! gives answers or errors, in bounded memory.
//!
//! All of it blocks.

mod disk;
mod error;
mod ext4;
mod folder;
mod links;
#[cfg(test)]
mod tests;
mod walk;

use std::path::Path;

pub(crate) use disk::{Layer, open_layer};
pub(crate) use error::TreeError;
use ext4::Ext4;
use folder::Folder;
use pyro_wire::files::EntryKind;
use pyro_wire::launch::DiskLayer;
pub(crate) use walk::Count;

use self::disk::Chain;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: EntryKind,
    /// Bytes of a file, or of a link's target; 0 for the rest.
    pub(crate) size: u64,
    /// Permission bits, with set-user-id and its like.
    pub(crate) mode: u32,
    pub(crate) mtime_ns: i64,
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: Vec<u8>,
    pub(crate) stat: Stat,
    /// Of its inode.
    number: u64,
}

pub(crate) struct Tree(Kind);

enum Kind {
    Disk(Box<Ext4<Chain>>),
    Folder(Folder),
}

impl Tree {
    /// A folder on a guest's disk. The layers come bottom first, and nobody may write to them
    /// meanwhile: frozen ones, or those of a VM that is stopped.
    pub(crate) fn disk(layers: &[DiskLayer], root: &[u8]) -> Result<Self, TreeError> {
        let ext4 = Ext4::open(Chain::open(layers)?, root)?;
        Ok(Self(Kind::Disk(Box::new(ext4))))
    }

    /// A folder of this host.
    pub(crate) fn folder(path: &Path) -> Result<Self, TreeError> {
        Folder::open(path).map(Kind::Folder).map(Self)
    }

    /// What is at a path; a link is looked at itself. `None`: nothing.
    pub(crate) fn stat(&self, path: &[u8]) -> Result<Option<Stat>, TreeError> {
        found(match &self.0 {
            Kind::Disk(disk) => disk.stat(path),
            Kind::Folder(folder) => folder.stat(path),
        })
    }

    /// The beginning of a file, at most `limit` bytes of it.
    pub(crate) fn read(&self, path: &[u8], limit: usize) -> Result<Vec<u8>, TreeError> {
        self.read_from(path, 0, limit)
    }

    /// A piece of a file, at most `limit` bytes of it.
    pub(crate) fn read_from(
        &self,
        path: &[u8],
        offset: u64,
        limit: usize,
    ) -> Result<Vec<u8>, TreeError> {
        match &self.0 {
            Kind::Disk(disk) => disk.read(path, offset, limit),
            Kind::Folder(folder) => folder.read(path, offset, limit),
        }
    }

    /// Where a link points.
    pub(crate) fn target(&self, path: &[u8]) -> Result<Vec<u8>, TreeError> {
        match &self.0 {
            Kind::Disk(disk) => disk.target(path),
            Kind::Folder(folder) => folder.target(path),
        }
    }

    /// What is in a folder, sorted by the bytes of its names.
    pub(crate) fn list(&self, path: &[u8]) -> Result<Vec<Named>, TreeError> {
        let mut entries = match &self.0 {
            Kind::Disk(disk) => disk.list(path),
            Kind::Folder(folder) => folder.list(path),
        }?;
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }
}

fn found(stat: Result<Stat, TreeError>) -> Result<Option<Stat>, TreeError> {
    match stat {
        Ok(stat) => Ok(Some(stat)),
        Err(TreeError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
