//! Copies what is in a file, and leaves its holes as holes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::copy_file_range;

use super::UnpackError;
use super::error::{damaged, write};
use super::walk::Unpacker;
use crate::error::TreeError;
use crate::ext4::Inode;

/// How much is copied at once.
const PIECE: usize = 1024 * 1024;

/// From this length on the kernel copies from file to file, which costs more calls than a small
/// file is worth, but shares the blocks where the file system can.
const WORTH_IT: u64 = 256 * 1024;

impl Unpacker<'_> {
    pub(super) fn write_content(
        &mut self,
        inode: &Inode,
        file: &File,
        path: &[u8],
    ) -> Result<(), UnpackError> {
        let (mut offset, mut end) = (0, 0);
        while offset < inode.size {
            self.count_piece()?;
            let extent = self.disk.extent(inode, offset)?;
            if let Some(place) = extent.place {
                self.copy(place, file, offset, extent.length, path)?;
                end = offset + extent.length;
            }
            offset += extent.length;
        }
        if end < inode.size {
            file.set_len(inode.size).map_err(write(path))?;
        }
        Ok(())
    }

    /// A damaged disk could say that a file has endlessly many pieces.
    fn count_piece(&mut self) -> Result<(), UnpackError> {
        const SMALLEST_BLOCK: u64 = 1024;
        self.pieces += 1;
        if self.pieces > self.done.entries + 2 * (self.disk.size() / SMALLEST_BLOCK) {
            return Err(damaged("its files have more pieces than the disk"));
        }
        Ok(())
    }

    fn copy(
        &mut self,
        place: u64,
        file: &File,
        offset: u64,
        length: u64,
        path: &[u8],
    ) -> Result<(), UnpackError> {
        let mut copied = 0;
        while copied < length {
            let rest = length - copied;
            let count = match self.copy_in_kernel(place + copied, file, offset + copied, rest) {
                Some(count) => count.map_err(write(path))?,
                None => self.copy_through(place + copied, file, offset + copied, rest, path)?,
            };
            copied += count;
            self.done.bytes += count;
            // Blocks belong to one file each.
            if self.done.bytes > self.disk.size() {
                return Err(damaged("its files are larger than the disk"));
            }
            self.report()?;
        }
        Ok(())
    }

    /// `None` where that cannot be done, or is not worth it.
    fn copy_in_kernel(
        &mut self,
        place: u64,
        file: &File,
        offset: u64,
        length: u64,
    ) -> Option<Result<u64, Errno>> {
        const AT_ONCE: u64 = 16 * PIECE as u64;
        let raw = self.raw.as_ref()?;
        if length < WORTH_IT {
            return None;
        }
        let mut from = i64::try_from(place).ok()?;
        let mut to = i64::try_from(offset).ok()?;
        let length = usize::try_from(length.min(AT_ONCE)).ok()?;
        match copy_file_range(raw, Some(&mut from), file, Some(&mut to), length) {
            Ok(count @ 1..) => Some(Ok(count as u64)),
            // On another file system, or on one that does not know how: reading says what is wrong.
            Ok(0) | Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => None,
            Err(errno) => Some(Err(errno)),
        }
    }

    fn copy_through(
        &mut self,
        place: u64,
        file: &File,
        offset: u64,
        length: u64,
        path: &[u8],
    ) -> Result<u64, UnpackError> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; PIECE];
        }
        let count = length.min(PIECE as u64);
        let piece = &mut self.buffer[..count as usize];
        match &self.raw {
            Some(raw) => raw
                .read_exact_at(piece, place)
                .map_err(|source| TreeError::Disk { source })?,
            None => self.disk.read_place(place, piece)?,
        }
        file.write_all_at(piece, offset).map_err(write(path))?;
        Ok(count)
    }
}
