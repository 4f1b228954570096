//! Copies what is in a file: its blocks are shared where the file system can, and else copied by the
//! kernel, holes left as holes.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::copy_file_range;
use nix::libc;
use nix::unistd::{Whence, lseek64};

use super::CopyError;
use super::error::{read, write};
use super::walk::Copier;

/// How much is copied at once.
const PIECE: usize = 1024 * 1024;

impl Copier<'_> {
    pub(super) fn copy_content(
        &mut self,
        from: &File,
        to: &File,
        size: u64,
        path: &[u8],
    ) -> Result<(), CopyError> {
        if size == 0 {
            return Ok(());
        }
        if self.shares {
            match share(from, to) {
                Ok(()) => {
                    self.done.bytes += size;
                    return Ok(());
                }
                Err(errno @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EIO)) => {
                    return Err(write(path)(errno));
                }
                // Not on this file system, or not from that one to this; asked once.
                Err(_) => self.shares = false,
            }
        }
        let mut offset = 0;
        while offset < size {
            let Some((start, end)) = data(from, offset, size).map_err(read(path))? else {
                break;
            };
            offset = start;
            while offset < end {
                let count = self.copy_piece(from, to, offset, end - offset, path)?;
                // A file that got shorter meanwhile.
                if count == 0 {
                    break;
                }
                offset += count;
                self.done.bytes += count;
                self.report()?;
            }
            offset = end;
        }
        to.set_len(size).map_err(write(path))
    }

    fn copy_piece(
        &mut self,
        from: &File,
        to: &File,
        offset: u64,
        length: u64,
        path: &[u8],
    ) -> Result<u64, CopyError> {
        const AT_ONCE: u64 = 16 * PIECE as u64;
        // A small piece is sooner read and written.
        if length > PIECE as u64 / 4
            && let Ok(place) = i64::try_from(offset)
        {
            let (mut here, mut there) = (place, place);
            let count = length.min(AT_ONCE) as usize;
            match copy_file_range(from, Some(&mut here), to, Some(&mut there), count) {
                Ok(count) => return Ok(count as u64),
                Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(write(path)(errno)),
            }
        }
        self.buffer.resize(PIECE, 0);
        let piece = &mut self.buffer[..length.min(PIECE as u64) as usize];
        let count = from.read_at(piece, offset).map_err(read(path))?;
        to.write_all_at(&piece[..count], offset)
            .map_err(write(path))?;
        Ok(count as u64)
    }
}

/// Where data begins and ends from an offset on; `None` when only a hole follows.
fn data(file: &File, offset: u64, size: u64) -> nix::Result<Option<(u64, u64)>> {
    let seek = |offset: u64, whence| {
        let offset = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        let found = lseek64(file, offset, whence)?;
        u64::try_from(found).map_err(|_| Errno::EOVERFLOW)
    };
    let start = match seek(offset, Whence::SeekData) {
        Ok(start) => start,
        Err(Errno::ENXIO) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let end = seek(start, Whence::SeekHole)?.min(size);
    Ok((start < end).then_some((start, end)))
}

/// Lets a file have the blocks of another, which both keep until one of them is written to.
fn share(from: &File, to: &File) -> nix::Result<()> {
    // SAFETY: both descriptors are open, and nothing but their numbers is handed over.
    let shared = unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) };
    Errno::result(shared).map(drop)
}
