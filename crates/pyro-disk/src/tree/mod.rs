//! Files by their paths.
//!
//! A [`Tree`] is a folder of a guest's disk, read from its layers, or a plain folder of this host
//! where commands run without a VM, or one that another process reads; all answer and refuse alike. Paths are relative to it, plain,
//! and no link is followed on the way.
//!
//! One type in several files: `links` and `walk` add to it what both kinds have in common.

mod chain;
mod folder;
mod links;
mod served;
#[cfg(test)]
mod tests;
mod walk;

use std::io::{Read, Write};
use std::path::Path;

use crate::entry::{Entry, Stat};
use crate::error::TreeError;
use crate::ext4::Ext4;
use crate::layers::Layer;

pub(crate) use self::chain::Chain;
use self::folder::Folder;
use self::served::Served;

pub use self::served::serve;

/// A folder on a disk or on this host.
pub struct Tree(Kind);

enum Kind {
    Disk(Box<Ext4<Chain>>),
    Folder(Folder),
    Served(Served),
}

impl Tree {
    /// A folder on a guest's disk. The layers come bottom first, and nobody may write to them
    /// meanwhile: frozen ones, or those of a VM that is stopped.
    pub fn disk(layers: &[Layer], root: &[u8]) -> Result<Self, TreeError> {
        let ext4 = Ext4::open(Chain::open(layers)?, root)?;
        Ok(Self(Kind::Disk(Box::new(ext4))))
    }

    /// A folder of this host.
    pub fn folder(path: &Path) -> Result<Self, TreeError> {
        Folder::open(path).map(Kind::Folder).map(Self)
    }

    /// A folder that another process reads, with [`serve`], at the other ends of these.
    pub fn served(to: impl Write + Send + 'static, from: impl Read + Send + 'static) -> Self {
        Self(Kind::Served(Served::new(Box::new(to), Box::new(from))))
    }

    /// What is at a path; a link is looked at itself. `None`: nothing.
    pub fn stat(&self, path: &[u8]) -> Result<Option<Stat>, TreeError> {
        found(match &self.0 {
            Kind::Disk(disk) => disk.stat(path),
            Kind::Folder(folder) => folder.stat(path),
            Kind::Served(served) => served.stat(path),
        })
    }

    /// The beginning of a file, at most `limit` bytes of it.
    pub fn read(&self, path: &[u8], limit: usize) -> Result<Vec<u8>, TreeError> {
        self.read_from(path, 0, limit)
    }

    /// A piece of a file, at most `limit` bytes of it.
    pub fn read_from(&self, path: &[u8], offset: u64, limit: usize) -> Result<Vec<u8>, TreeError> {
        match &self.0 {
            Kind::Disk(disk) => disk.read(path, offset, limit),
            Kind::Folder(folder) => folder.read(path, offset, limit),
            Kind::Served(served) => served.read(path, offset, limit),
        }
    }

    /// Where a link points.
    pub fn target(&self, path: &[u8]) -> Result<Vec<u8>, TreeError> {
        match &self.0 {
            Kind::Disk(disk) => disk.target(path),
            Kind::Folder(folder) => folder.target(path),
            Kind::Served(served) => served.target(path),
        }
    }

    /// What is in a folder, sorted by the bytes of its names.
    pub fn list(&self, path: &[u8]) -> Result<Vec<Entry>, TreeError> {
        let mut entries = match &self.0 {
            Kind::Disk(disk) => disk.list(path),
            Kind::Folder(folder) => folder.list(path),
            Kind::Served(served) => served.list(path),
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
