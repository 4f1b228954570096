//! One file, folder or link, without its name.

use super::Ext4;
use super::bytes::{joined, u16_at, u32_at};
use super::read_at::ReadAt;
use crate::entry::{FileKind, Stat};
use crate::error::TreeError;

pub(crate) const ROOT: u32 = 2;

/// The length of the field that holds the root of the extents, or a short target.
pub(crate) const BODY: usize = 60;

const USES_EXTENTS: u32 = 0x8_0000;
const PIPE: u32 = 0o010_000;
const SOCKET: u32 = 0o140_000;

/// The length that every inode has; what is behind begins with how much of it are fields.
pub(crate) const OLD_LENGTH: usize = 128;

const ENCRYPTED: u32 = 0x800;
const DATA_IN_INODE: u32 = 0x1000_0000;

#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) number: u32,
    pub(crate) kind: FileKind,
    pub(crate) size: u64,
    pub(crate) body: [u8; BODY],
    pub(crate) owner: u32,
    pub(crate) group: u32,
    /// How many names it has.
    pub(crate) names: u16,
    pub(crate) atime_ns: i64,
    pub(crate) mtime_ns: i64,
    /// The block that holds attributes for which the inode has no room; 0: there is none.
    pub(crate) attributes_at: u64,
    /// The kind as it is written, which tells apart what a `FileKind` does not.
    format: u32,
    mode: u32,
    flags: u32,
}

/// Something that is neither file, folder nor link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Pipe,
    Socket,
    Device,
}

impl Inode {
    pub(crate) fn stat(&self) -> Stat {
        Stat {
            kind: self.kind,
            size: match self.kind {
                FileKind::File | FileKind::Symlink => self.size,
                FileKind::Directory | FileKind::Special => 0,
            },
            mode: self.mode,
            mtime_ns: self.mtime_ns,
            user: self.owner,
            group: self.group,
        }
    }

    /// What a [`FileKind::Special`] is.
    pub(crate) fn special(&self) -> Special {
        match self.format {
            PIPE => Special::Pipe,
            SOCKET => Special::Socket,
            _ => Special::Device,
        }
    }

    /// The target of a link that is short enough to stand in the inode itself.
    pub(crate) fn inline_target(&self) -> Option<&[u8]> {
        let length = usize::try_from(self.size).ok()?;
        (self.flags & USES_EXTENTS == 0).then_some(())?;
        (length < BODY).then(|| &self.body[..length])
    }

    /// Whether its content is where extents say.
    pub(crate) fn expect_extents(&self) -> Result<(), TreeError> {
        let unsupported = |what| Err(TreeError::Unsupported { what });
        if self.flags & ENCRYPTED != 0 {
            return unsupported("a file is encrypted");
        }
        if self.flags & (USES_EXTENTS | DATA_IN_INODE) != USES_EXTENTS {
            return unsupported("a file is stored in an old format");
        }
        Ok(())
    }

    fn parse(number: u32, bytes: &[u8]) -> Option<Self> {
        let mode = u32::from(u16_at(bytes, 0x0)?);
        let format = mode & 0o170_000;
        let kind = match format {
            0o100_000 => FileKind::File,
            0o040_000 => FileKind::Directory,
            0o120_000 => FileKind::Symlink,
            PIPE | 0o020_000 | 0o060_000 | SOCKET => FileKind::Special,
            _ => return None,
        };
        let halves = |low, high| Some(joined_halves(u16_at(bytes, low)?, u16_at(bytes, high)?));
        Some(Self {
            number,
            kind,
            owner: halves(0x2, 0x78)?,
            group: halves(0x18, 0x7a)?,
            names: u16_at(bytes, 0x1a)?,
            atime_ns: time(bytes, 0x8, 0x8c)?,
            mtime_ns: time(bytes, 0x10, 0x88)?,
            attributes_at: joined(u32_at(bytes, 0x68)?, u16_at(bytes, 0x76)?.into()),
            format,
            size: joined(u32_at(bytes, 0x4)?, u32_at(bytes, 0x6c)?),
            body: bytes.get(0x28..0x28 + BODY)?.try_into().ok()?,
            mode: mode & 0o7777,
            flags: u32_at(bytes, 0x20)?,
        })
    }
}

fn joined_halves(low: u16, high: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

/// How many bytes of fields an inode has beyond those of old.
pub(crate) fn extra_fields(bytes: &[u8]) -> usize {
    u16_at(bytes, OLD_LENGTH).unwrap_or_default().into()
}

/// Nanoseconds since 1970. Seconds are signed; two bits of the extra field carry them past 2038.
fn time(bytes: &[u8], seconds: usize, extra: usize) -> Option<i64> {
    let seconds = i64::from(u32_at(bytes, seconds)?.cast_signed());
    let extra = match OLD_LENGTH + extra_fields(bytes) >= extra + 4 {
        true => u32_at(bytes, extra)?,
        false => 0,
    };
    let seconds = seconds + (i64::from(extra & 0x3) << 32);
    let nanoseconds = seconds.saturating_mul(1_000_000_000);
    Some(nanoseconds.saturating_add((extra >> 2).into()))
}

impl<D: ReadAt> Ext4<D> {
    pub(crate) fn inode(&self, number: u32) -> Result<Inode, TreeError> {
        self.try_inode(number)?.ok_or(TreeError::Damaged {
            what: "an inode is invalid",
        })
    }

    fn try_inode(&self, number: u32) -> Result<Option<Inode>, TreeError> {
        let bytes = self.inode_bytes(number)?;
        Ok(bytes.and_then(|bytes| Inode::parse(number, &bytes)))
    }

    pub(crate) fn inode_bytes(&self, number: u32) -> Result<Option<Vec<u8>>, TreeError> {
        let sb = &self.superblock;
        let Some(index) = number.checked_sub(1) else {
            return Ok(None);
        };
        let group = index / sb.inodes_per_group;
        if group >= sb.groups {
            return Ok(None);
        }
        let place = u64::from(group) * u64::from(sb.group_size);
        let Some(description) = self.part(sb.groups_at, place, sb.group_size)? else {
            return Ok(None);
        };
        let low = u32_at(&description, 0x8).unwrap_or_default();
        // Only wide descriptions reach as far as the high half.
        let high = u32_at(&description, 0x28).unwrap_or_default();
        let place = u64::from(index % sb.inodes_per_group) * u64::from(sb.inode_size);
        self.part(joined(low, high), place, sb.inode_size)
    }

    /// Bytes that do not cross the end of a block, from a table that begins with a block.
    fn part(&self, table: u64, place: u64, length: u32) -> Result<Option<Vec<u8>>, TreeError> {
        let size = u64::from(self.superblock.block_size);
        let Some(number) = table.checked_add(place / size) else {
            return Ok(None);
        };
        let block = self.disk.block(number)?;
        let start = usize::try_from(place % size).unwrap_or(usize::MAX);
        let part = start
            .checked_add(length as usize)
            .and_then(|end| block.get(start..end));
        Ok(part.map(<[u8]>::to_vec))
    }
}
