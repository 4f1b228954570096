//! Extended attributes: in the inode itself, in a block of their own, or, large ones, in an inode of
//! their own. They are told as Linux tells them to programs, and so are access control lists, which
//! the disk has in another form.

use super::Ext4;
use super::bytes::{u16_at, u32_at};
use super::inode::{Inode, OLD_LENGTH, extra_fields};
use super::read_at::ReadAt;
use crate::entry::FileKind;
use crate::error::TreeError;

const MAGIC: u32 = 0xea02_0000;

/// Lengths of an entry without its name, and of what is before the first one in a block.
const ENTRY: usize = 16;
const BLOCK_HEADER: usize = 32;

/// The largest value that Linux takes.
const LONGEST_VALUE: u32 = 64 * 1024;

/// A guest could make an inode with a chain of entries as long as a block.
const MOST: usize = 4096;

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    /// With its namespace, such as `user.comment`.
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl<D: ReadAt> Ext4<D> {
    pub(crate) fn attributes(&self, inode: &Inode) -> Result<Vec<Attribute>, TreeError> {
        let mut found = Vec::new();
        if let Some(bytes) = self.inode_bytes(inode.number)? {
            let start = OLD_LENGTH + extra_fields(&bytes);
            if let Some(area) = bytes.get(start..)
                && u32_at(area, 0) == Some(MAGIC)
            {
                // Values are counted from the first entry.
                self.attributes_in(&area[4..], 0, &mut found)?;
            }
        }
        if inode.attributes_at != 0 {
            let block = self.disk.block(inode.attributes_at)?;
            if u32_at(&block, 0) != Some(MAGIC) {
                return Err(damaged());
            }
            self.attributes_in(&block, BLOCK_HEADER, &mut found)?;
        }
        Ok(found)
    }

    /// `area` is what the places of values are counted from, `first` where the entries begin.
    fn attributes_in(
        &self,
        area: &[u8],
        first: usize,
        found: &mut Vec<Attribute>,
    ) -> Result<(), TreeError> {
        let mut at = first;
        // What has no room for a number ends the list like a zero.
        while u32_at(area, at).is_some_and(|word| word != 0) {
            let entry = Entry::parse(area, at).ok_or_else(damaged)?;
            at = entry.end;
            if entry.size > LONGEST_VALUE || found.len() >= MOST {
                return Err(damaged());
            }
            let value = match entry.inode {
                0 => entry.value(area).ok_or_else(damaged)?.to_vec(),
                number => self.large_value(number, entry.size)?,
            };
            if let Some(attribute) = named(entry.namespace, entry.name, value) {
                found.push(attribute.ok_or_else(damaged)?);
            }
        }
        Ok(())
    }

    fn large_value(&self, number: u32, size: u32) -> Result<Vec<u8>, TreeError> {
        let inode = self.inode(number)?;
        if inode.kind != FileKind::File || inode.size != u64::from(size) {
            return Err(damaged());
        }
        self.content(&inode, 0, size as usize)
    }
}

fn damaged() -> TreeError {
    TreeError::Damaged {
        what: "the attributes of a file are invalid",
    }
}

struct Entry<'a> {
    namespace: u8,
    name: &'a [u8],
    place: u16,
    /// The inode that has the value; 0: it is at `place`.
    inode: u32,
    size: u32,
    end: usize,
}

impl<'a> Entry<'a> {
    fn parse(area: &'a [u8], at: usize) -> Option<Self> {
        let bytes = area.get(at..)?;
        let length = usize::from(*bytes.first()?);
        Some(Self {
            namespace: *bytes.get(1)?,
            name: bytes.get(ENTRY..ENTRY + length)?,
            place: u16_at(bytes, 2)?,
            inode: u32_at(bytes, 4)?,
            size: u32_at(bytes, 8)?,
            end: at + (ENTRY + length).next_multiple_of(4),
        })
    }

    fn value(&self, area: &'a [u8]) -> Option<&'a [u8]> {
        area.get(self.place.into()..)?.get(..self.size as usize)
    }
}

/// `None`: no program is shown an attribute of this namespace. `Some(None)`: it is invalid.
fn named(namespace: u8, name: &[u8], value: Vec<u8>) -> Option<Option<Attribute>> {
    let with = |prefix: &[u8], value| {
        let name = [prefix, name].concat();
        let valid = !name.contains(&0);
        Some(valid.then_some(Attribute { name, value }))
    };
    let list = |name: &[u8]| {
        let name = name.to_vec();
        Some(access_list(&value).map(|value| Attribute { name, value }))
    };
    match namespace {
        1 => with(b"user.", value),
        2 => list(b"system.posix_acl_access"),
        3 => list(b"system.posix_acl_default"),
        4 => with(b"trusted.", value),
        6 => with(b"security.", value),
        _ => None,
    }
}

/// An access control list as programs see it: each entry has an id there, and on the disk only
/// those that are about one.
fn access_list(disk: &[u8]) -> Option<Vec<u8>> {
    const DISK_VERSION: u32 = 1;
    const VERSION: u32 = 2;
    const OF_USER: u16 = 0x2;
    const OF_GROUP: u16 = 0x8;
    if u32_at(disk, 0)? != DISK_VERSION {
        return None;
    }
    let mut list = VERSION.to_le_bytes().to_vec();
    let mut at = 4;
    while at < disk.len() {
        let (tag, rights) = (u16_at(disk, at)?, u16_at(disk, at + 2)?);
        at += 4;
        let mut id = u32::MAX;
        if matches!(tag, OF_USER | OF_GROUP) {
            id = u32_at(disk, at)?;
            at += 4;
        }
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_list_gets_an_id_in_each_entry() {
        let disk = [
            &1_u32.to_le_bytes()[..],
            &[1, 0, 6, 0],
            &[2, 0, 4, 0, 0xe8, 3, 0, 0],
            &[0x20, 0, 4, 0],
        ]
        .concat();
        let list = [
            &2_u32.to_le_bytes()[..],
            &[1, 0, 6, 0, 255, 255, 255, 255],
            &[2, 0, 4, 0, 0xe8, 3, 0, 0],
            &[0x20, 0, 4, 0, 255, 255, 255, 255],
        ]
        .concat();
        assert_eq!(access_list(&disk), Some(list));
        assert_eq!(access_list(&disk[..disk.len() - 1]), None);
        assert_eq!(access_list(&2_u32.to_le_bytes()), None);
    }
}
