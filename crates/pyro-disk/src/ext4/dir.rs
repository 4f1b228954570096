//! What is in a folder: names with the numbers of their inodes, in blocks that are read in order.

use std::collections::HashMap;
use std::sync::Arc;

use super::Ext4;
use super::bytes::{u16_at, u32_at};
use super::inode::Inode;
use super::read_at::ReadAt;
use crate::entry::FileKind;
use crate::error::TreeError;
use crate::names::escaped;

/// Length of an entry without its name.
const HEADER: usize = 8;

/// The longest folder that is read, and the most entries that are listed. A guest could make one
/// that fills the memory of this host.
const LONGEST: u64 = 64 * 1024 * 1024;
const MOST_ENTRIES: usize = 500_000;

impl<D: ReadAt> Ext4<D> {
    /// Names with the numbers of their inodes. `path` is for errors.
    pub(crate) fn entries(&self, folder: &Inode, path: &[u8]) -> Result<Arc<Entries>, TreeError> {
        if let Some(entries) = self.folders.borrow().known.get(&folder.number) {
            return Ok(Arc::clone(entries));
        }
        let entries = Arc::new(self.scan(folder, path)?);
        self.folders.borrow_mut().keep(folder.number, &entries);
        Ok(entries)
    }

    fn scan(&self, folder: &Inode, path: &[u8]) -> Result<Entries, TreeError> {
        if folder.kind != FileKind::Directory {
            return Err(TreeError::wrong_kind(path, "a folder"));
        }
        if folder.size > LONGEST {
            return Err(TreeError::TooLarge {
                name: escaped(path),
            });
        }
        folder.expect_extents()?;
        let mut entries = Entries::new();
        let block_size = u64::from(self.superblock.block_size);
        for block in 0..folder.size / block_size {
            let place = self.place(folder, block)?.ok_or(TreeError::Damaged {
                what: "a folder has a hole",
            })?;
            let bytes = self.disk.block(place)?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let Parsed {
                    name,
                    number,
                    after,
                } = parse(rest).ok_or(TreeError::Damaged {
                    what: "an entry of a folder is invalid",
                })?;
                rest = after;
                // Number 0: removed ones, checksums, and the nodes of the tree of hashes.
                if number == 0 || name == b"." || name == b".." {
                    continue;
                }
                if name.is_empty() || name.iter().any(|&byte| byte == b'/' || byte == 0) {
                    return Err(TreeError::Damaged {
                        what: "a folder has an invalid name",
                    });
                }
                entries.entry(name.to_vec()).or_insert(number);
                if entries.len() > MOST_ENTRIES {
                    return Err(TreeError::TooLarge {
                        name: escaped(path),
                    });
                }
            }
        }
        Ok(entries)
    }
}

pub(crate) type Entries = HashMap<Vec<u8>, u32>;

/// Folders that were read, so that files of a large one are found without reading it again.
#[derive(Default)]
pub(crate) struct KnownFolders {
    known: HashMap<u32, Arc<Entries>>,
    /// Of all of them.
    entries: usize,
}

impl KnownFolders {
    fn keep(&mut self, folder: u32, entries: &Arc<Entries>) {
        if self.entries + entries.len() > MOST_ENTRIES {
            *self = Self::default();
        }
        self.entries += entries.len();
        self.known.insert(folder, Arc::clone(entries));
    }
}

/// An entry of a block.
struct Parsed<'a> {
    name: &'a [u8],
    number: u32,
    /// What comes after it.
    after: &'a [u8],
}

fn parse(bytes: &[u8]) -> Option<Parsed<'_>> {
    let number = u32_at(bytes, 0)?;
    let length = match u16_at(bytes, 4)? {
        // A block of 64 KiB does not fit into the field.
        0 | u16::MAX => bytes.len(),
        length => usize::from(length),
    };
    let name_length = usize::from(*bytes.get(6)?);
    if length < HEADER || length % 4 != 0 {
        return None;
    }
    let (entry, after) = bytes.split_at_checked(length)?;
    let name = entry.get(HEADER..HEADER + name_length)?;
    Some(Parsed {
        name,
        number,
        after,
    })
}
