//! The description of the whole file system.

use super::bytes::{joined, u16_at, u32_at};
use super::read_at::ReadAt;
use crate::error::TreeError;

const PLACE: u64 = 1024;
const LENGTH: usize = 1024;
const MAGIC: u16 = 0xef53;

// Features without which the file system cannot be understood.
const FILE_TYPES: u32 = 0x2;
const NEEDS_RECOVERY: u32 = 0x4;
const EXTENTS: u32 = 0x40;
const WIDE: u32 = 0x80;
const FLEXIBLE_GROUPS: u32 = 0x200;
const EXTENDED_ATTRIBUTES_IN_INODES: u32 = 0x400;
const CHECKSUM_SEED: u32 = 0x2000;
const LARGE_FOLDERS: u32 = 0x4000;

const KNOWN: u32 = FILE_TYPES
    | EXTENTS
    | WIDE
    | FLEXIBLE_GROUPS
    | EXTENDED_ATTRIBUTES_IN_INODES
    | CHECKSUM_SEED
    | LARGE_FOLDERS;

#[derive(Debug)]
pub(crate) struct Superblock {
    pub(crate) block_size: u32,
    pub(crate) used_bytes: u64,
    /// The block that the table of groups begins in.
    pub(crate) groups_at: u64,
    pub(crate) group_size: u32,
    pub(crate) groups: u32,
    pub(crate) inodes_per_group: u32,
    pub(crate) inode_size: u32,
}

impl Superblock {
    pub(crate) fn read(disk: &impl ReadAt) -> Result<Self, TreeError> {
        let mut bytes = [0; LENGTH];
        disk.read_at(PLACE, &mut bytes)
            .map_err(|source| TreeError::Disk { source })?;
        Self::parse(&bytes).ok_or(TreeError::Damaged {
            what: "its superblock is invalid",
        })?
    }

    /// `None`: numbers that no file system has.
    fn parse(bytes: &[u8; LENGTH]) -> Option<Result<Self, TreeError>> {
        let unsupported = |what| Some(Err(TreeError::Unsupported { what }));
        if u16_at(bytes, 0x38)? != MAGIC {
            return unsupported("it is not ext4");
        }
        let features = u32_at(bytes, 0x60)?;
        if features & NEEDS_RECOVERY != 0 {
            return Some(Err(TreeError::NotClean));
        }
        if features & !KNOWN != 0 || features & FILE_TYPES == 0 {
            return unsupported("it has unknown features");
        }
        let block_size = match u32_at(bytes, 0x18)? {
            scale @ 0..=6 => 1024_u32 << scale,
            _ => return None,
        };
        let wide = features & WIDE != 0;
        let count = |low, high| {
            let high = if wide { u32_at(bytes, high)? } else { 0 };
            Some(joined(u32_at(bytes, low)?, high))
        };
        let (blocks, free) = (count(0x4, 0x150)?, count(0xc, 0x158)?);
        let first_block = u32_at(bytes, 0x14)?;
        let blocks_per_group = u64::from(u32_at(bytes, 0x20)?);
        let groups = blocks
            .checked_sub(first_block.into())?
            .div_ceil((blocks_per_group > 0).then_some(blocks_per_group)?);
        let inode_size = u32::from(u16_at(bytes, 0x58)?);
        if inode_size < 128 || inode_size > block_size || !inode_size.is_power_of_two() {
            return None;
        }
        let inodes_per_group = u32_at(bytes, 0x28)?;
        let group_size = match wide {
            true => u32::from(u16_at(bytes, 0xfe)?),
            false => 32,
        };
        let fits = group_size.is_power_of_two() && (32..=1024).contains(&group_size);
        if inodes_per_group == 0 || !fits || (wide && group_size < 64) {
            return None;
        }
        Some(Ok(Self {
            block_size,
            used_bytes: blocks
                .saturating_sub(free)
                .saturating_mul(block_size.into()),
            groups_at: u64::from(first_block) + 1,
            group_size,
            groups: u32::try_from(groups).ok()?,
            inodes_per_group,
            inode_size,
        }))
    }
}
