//! What a file system is read from.

use std::io;

/// Bytes that can be read at any place. What is beyond the end reads as zeros.
pub(crate) trait ReadAt {
    fn size(&self) -> u64;
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}
