//! Reads an ext4 file system that nobody has mounted.
//!
//! Just what Debian's `mke2fs` makes and a Linux guest writes: extents, folders (the tree of
//! hashes over large ones is not needed to read them in order), links. Anything else is refused by
//! name, above all a journal that was not played back. Checksums are not compared.
//!
//! Written for pyro, as the crates there are read preallocated space as data, refuse dates after
//! 2038, and end the process on some damaged images, which a guest could make.
//!
//! One type in several files: `inode`, `dir`, `extents` and `attributes` each add to [`Ext4`] what it knows of
//! them.

mod attributes;
mod bytes;
mod dir;
mod extents;
mod inode;
mod read_at;
mod superblock;

use std::cell::RefCell;

use crate::entry::{Entry, FileKind, Stat};
use crate::error::TreeError;

pub(crate) use self::attributes::Attribute;
use self::bytes::Cache;
use self::dir::KnownFolders;
use self::inode::ROOT;
pub(crate) use self::inode::{Inode, Special};
pub(crate) use self::read_at::ReadAt;
use self::superblock::Superblock;

pub(crate) struct Ext4<D> {
    disk: Cache<D>,
    superblock: Superblock,
    folders: RefCell<KnownFolders>,
    /// Where paths begin.
    root: u32,
}

/// The longest target of a link.
const LONGEST_TARGET: u64 = 4096;

impl<D: ReadAt> Ext4<D> {
    pub(crate) fn open(disk: D, root: &[u8]) -> Result<Self, TreeError> {
        let superblock = Superblock::read(&disk)?;
        let disk = Cache::new(disk, superblock.block_size);
        let mut ext4 = Self {
            disk,
            superblock,
            folders: RefCell::default(),
            root: ROOT,
        };
        ext4.root = ext4.find(root)?.number;
        Ok(ext4)
    }

    /// The folder where paths begin.
    pub(crate) fn root(&self) -> Result<Inode, TreeError> {
        self.inode(self.root)
    }

    /// How large the disk is.
    pub(crate) fn size(&self) -> u64 {
        self.disk.size()
    }

    /// How much of the disk the file system says it uses.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.superblock.used_bytes
    }

    /// Reads from where an extent is.
    pub(crate) fn read_place(&self, place: u64, buffer: &mut [u8]) -> Result<(), TreeError> {
        self.disk.read(place, buffer)
    }

    pub(crate) fn stat(&self, path: &[u8]) -> Result<Stat, TreeError> {
        Ok(self.find(path)?.stat())
    }

    pub(crate) fn read(
        &self,
        path: &[u8],
        offset: u64,
        limit: usize,
    ) -> Result<Vec<u8>, TreeError> {
        let inode = self.find(path)?;
        if inode.kind != FileKind::File {
            return Err(TreeError::wrong_kind(path, "a file"));
        }
        let rest = inode.size.saturating_sub(offset);
        let rest = usize::try_from(rest).unwrap_or(usize::MAX);
        self.content(&inode, offset, rest.min(limit))
    }

    pub(crate) fn target(&self, path: &[u8]) -> Result<Vec<u8>, TreeError> {
        let inode = self.find(path)?;
        if inode.kind != FileKind::Symlink {
            return Err(TreeError::wrong_kind(path, "a link"));
        }
        self.target_of(&inode)
    }

    pub(crate) fn target_of(&self, inode: &Inode) -> Result<Vec<u8>, TreeError> {
        match inode.inline_target() {
            Some(target) => Ok(target.to_vec()),
            None if inode.size > LONGEST_TARGET => Err(TreeError::Damaged {
                what: "a link's target is too long",
            }),
            None => self.content(inode, 0, usize::try_from(inode.size).unwrap_or_default()),
        }
    }

    pub(crate) fn list(&self, path: &[u8]) -> Result<Vec<Entry>, TreeError> {
        let folder = self.find(path)?;
        let mut entries = Vec::new();
        for (name, &number) in self.entries(&folder, path)?.iter() {
            let stat = self.inode(number)?.stat();
            entries.push(Entry {
                name: name.clone(),
                stat,
                inode: number.into(),
            });
        }
        Ok(entries)
    }

    /// Follows a plain path from the root, and no link.
    fn find(&self, path: &[u8]) -> Result<Inode, TreeError> {
        let mut inode = self.inode(self.root)?;
        for part in path
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
        {
            if inode.kind != FileKind::Directory {
                return Err(TreeError::not_found(path));
            }
            let entries = self.entries(&inode, path)?;
            let number = entries
                .get(part)
                .ok_or_else(|| TreeError::not_found(path))?;
            inode = self.inode(*number)?;
        }
        Ok(inode)
    }
}
