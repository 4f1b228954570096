//! Where the content of a file is: runs of blocks, found through a tree of them.

use super::Ext4;
use super::bytes::{joined, u16_at, u32_at};
use super::inode::Inode;
use super::read_at::ReadAt;
use crate::error::TreeError;

const MAGIC: u16 = 0xf30a;
const ENTRY: usize = 12;
const DEEPEST: u16 = 5;

/// Runs longer than this are space that was reserved and never written: it reads as zeros, what
/// ever the disk has there.
const LONGEST_WRITTEN: u16 = 32768;

/// How much is read from the disk at once.
const LONGEST_READ: usize = 1024 * 1024;

/// What a file has from one of its blocks on.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    /// Where the blocks are; `None`: they are zeros.
    at: Option<u64>,
    blocks: u64,
}

/// A piece of a file that is on the disk in one piece, or is a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where it is on the disk, checked to be there; `None`: it is zeros.
    pub(crate) place: Option<u64>,
    pub(crate) length: u64,
}

impl<D: ReadAt> Ext4<D> {
    /// What a file has from an offset on that is the beginning of a block and before its end.
    pub(crate) fn extent(&self, inode: &Inode, offset: u64) -> Result<Extent, TreeError> {
        inode.expect_extents()?;
        let block_size = u64::from(self.superblock.block_size);
        let run = self.run(inode, offset / block_size)?;
        let length = run.blocks.saturating_mul(block_size);
        let length = length.min(inode.size.saturating_sub(offset));
        let place = run.at.map(|at| self.disk.place(at, length)).transpose()?;
        Ok(Extent { place, length })
    }

    /// A piece of a file's content, with no end of its own: what is asked for must be there.
    pub(crate) fn content(
        &self,
        inode: &Inode,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, TreeError> {
        inode.expect_extents()?;
        let block_size = self.superblock.block_size as usize;
        let first = offset / block_size as u64;
        // Blocks are read whole, so that a piece may begin before what was asked for.
        let before = (offset % block_size as u64) as usize;
        let length = length.saturating_add(before);
        let mut content = Vec::new();
        while content.len() < length {
            let block = first.checked_add((content.len() / block_size) as u64);
            let run = self.run(inode, block.unwrap_or(u64::MAX))?;
            let run_length = usize::try_from(run.blocks)
                .unwrap_or(usize::MAX)
                .saturating_mul(block_size);
            // The memory grows with what is read, not with what an inode says its size is.
            let count = run_length.min(length - content.len()).min(LONGEST_READ);
            let start = content.len();
            content.resize(start + count, 0);
            if let Some(at) = run.at {
                self.disk.read_blocks(at, &mut content[start..])?;
            }
        }
        content.drain(..before.min(content.len()));
        Ok(content)
    }

    /// A block of a file as it is on the disk; `None` where there is a hole.
    pub(crate) fn place(&self, inode: &Inode, block: u64) -> Result<Option<u64>, TreeError> {
        Ok(self.run(inode, block)?.at)
    }

    fn run(&self, inode: &Inode, block: u64) -> Result<Run, TreeError> {
        let damaged = || TreeError::Damaged {
            what: "the blocks of a file are invalid",
        };
        let mut node = Node::parse(&inode.body).ok_or_else(damaged)?;
        // Where the next entry to the right begins: a hole ends there.
        let mut end = u64::MAX;
        if node.depth > DEEPEST {
            return Err(damaged());
        }
        loop {
            let (entry, next) = node.find(block);
            end = end.min(next.unwrap_or(u64::MAX));
            let Some(entry) = entry else {
                return hole(block, end).ok_or_else(damaged);
            };
            if node.depth == 0 {
                return leaf(entry, block, end).ok_or_else(damaged);
            }
            let child = index(entry).ok_or_else(damaged)?;
            let child = Node::parse(&self.disk.block(child)?).ok_or_else(damaged)?;
            // This also ends the walk, whatever the disk says.
            if child.depth.checked_add(1) != Some(node.depth) {
                return Err(damaged());
            }
            node = child;
        }
    }
}

struct Node {
    depth: u16,
    entries: Vec<u8>,
}

impl Node {
    fn parse(bytes: &[u8]) -> Option<Self> {
        if u16_at(bytes, 0)? != MAGIC {
            return None;
        }
        let count = usize::from(u16_at(bytes, 2)?);
        Some(Self {
            depth: u16_at(bytes, 6)?,
            entries: bytes.get(ENTRY..ENTRY + count * ENTRY)?.to_vec(),
        })
    }

    /// The last entry that begins at a block or before it, and where the one after it begins.
    /// Entries are sorted; where they are not, the file system is damaged and any will do.
    fn find(&self, block: u64) -> (Option<&[u8]>, Option<u64>) {
        let (entries, _) = self.entries.as_chunks::<ENTRY>();
        let first = |entry: &[u8; ENTRY]| u64::from(u32_at(entry, 0).unwrap_or_default());
        let after = entries.partition_point(|entry| first(entry) <= block);
        let entry = after.checked_sub(1).and_then(|at| entries.get(at));
        (
            entry.map(<[u8; ENTRY]>::as_slice),
            entries.get(after).map(first),
        )
    }
}

fn hole(block: u64, end: u64) -> Option<Run> {
    let blocks = end.checked_sub(block).filter(|&blocks| blocks > 0)?;
    Some(Run { at: None, blocks })
}

fn leaf(entry: &[u8], block: u64, end: u64) -> Option<Run> {
    let first = u64::from(u32_at(entry, 0)?);
    let length = u16_at(entry, 4)?;
    let (length, written) = match length.checked_sub(LONGEST_WRITTEN) {
        Some(reserved @ 1..) => (u64::from(reserved), false),
        _ => (u64::from(length), true),
    };
    let into = block.checked_sub(first)?;
    if into >= length {
        return hole(block, end);
    }
    let place = joined(u32_at(entry, 8)?, u16_at(entry, 6)?.into());
    Some(Run {
        at: written.then_some(place.checked_add(into)?),
        blocks: length - into,
    })
}

fn index(entry: &[u8]) -> Option<u64> {
    Some(joined(u32_at(entry, 4)?, u16_at(entry, 8)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_holes_and_reserved_space_are_told_apart() {
        let entry = |first: u32, length: u16, at: u32| {
            let mut bytes = [0; ENTRY];
            bytes[..4].copy_from_slice(&first.to_le_bytes());
            bytes[4..6].copy_from_slice(&length.to_le_bytes());
            bytes[8..].copy_from_slice(&at.to_le_bytes());
            bytes
        };
        let node = Node {
            depth: 0,
            entries: [entry(2, 3, 100), entry(8, 32768 + 4, 200)].concat(),
        };
        let run = |block| match node.find(block) {
            (Some(entry), next) => leaf(entry, block, next.unwrap_or(u64::MAX)).unwrap(),
            (None, next) => hole(block, next.unwrap()).unwrap(),
        };
        let is = |at, blocks| Run { at, blocks };
        assert_eq!(run(0), is(None, 2));
        assert_eq!(run(2), is(Some(100), 3));
        assert_eq!(run(4), is(Some(102), 1));
        assert_eq!(run(5), is(None, 3));
        assert_eq!(run(9), is(None, 3));
        assert_eq!(run(12), is(None, u64::MAX - 12));
    }
}
