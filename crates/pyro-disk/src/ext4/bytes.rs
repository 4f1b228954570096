//! Numbers in blocks, and the blocks that were read last.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::read_at::ReadAt;
use crate::error::TreeError;

/// Blocks that are kept, before all are let go: a few megabytes.
const KEPT: usize = 1024;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(array(bytes, at)?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(array(bytes, at)?))
}

/// A number in two halves at different places.
pub(crate) fn joined(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A disk whose blocks of metadata are read again and again.
pub(crate) struct Cache<D> {
    disk: D,
    block_size: u32,
    blocks: RefCell<HashMap<u64, Arc<[u8]>>>,
}

impl<D: ReadAt> Cache<D> {
    pub(crate) fn new(disk: D, block_size: u32) -> Self {
        let blocks = RefCell::default();
        Self {
            disk,
            block_size,
            blocks,
        }
    }

    pub(crate) fn block(&self, number: u64) -> Result<Arc<[u8]>, TreeError> {
        if let Some(block) = self.blocks.borrow().get(&number) {
            return Ok(Arc::clone(block));
        }
        let mut bytes = vec![0; self.block_size as usize];
        self.read_blocks(number, &mut bytes)?;
        let block: Arc<[u8]> = bytes.into();
        let mut blocks = self.blocks.borrow_mut();
        if blocks.len() >= KEPT {
            blocks.clear();
        }
        blocks.insert(number, Arc::clone(&block));
        Ok(block)
    }

    /// Reads from the beginning of a block, past the cache.
    pub(crate) fn read_blocks(&self, number: u64, buffer: &mut [u8]) -> Result<(), TreeError> {
        let place = self.place(number, buffer.len() as u64)?;
        self.read(place, buffer)
    }

    /// Reads what [`Cache::place`] found.
    pub(crate) fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), TreeError> {
        self.disk
            .read_at(place, buffer)
            .map_err(|source| TreeError::Disk { source })
    }

    /// Where on the disk a block begins, when as many bytes are there.
    pub(crate) fn place(&self, number: u64, length: u64) -> Result<u64, TreeError> {
        let offset = number.checked_mul(u64::from(self.block_size));
        let end = offset.and_then(|offset| offset.checked_add(length));
        match (offset, end) {
            // The first block is never that of a file.
            (Some(offset), Some(end)) if number > 0 && end <= self.disk.size() => Ok(offset),
            _ => Err(TreeError::Damaged {
                what: "a block number is outside the disk",
            }),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.disk.size()
    }
}
