//! Names a disk image by its contents, without reading what is not there.
//!
//! The hash covers the image's size and each 4 KiB block that is not all zero, with its
//! index. So a sparse copy and a dense copy of one image have one digest, and hashing
//! 16 GiB of which 200 MB are used takes as long as hashing 200 MB.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest, Sha256};

const BLOCK: usize = 4096;
const CHUNK: usize = 256 * BLOCK;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// The digest as bare hex, or `None` when `stop` said so.
pub(crate) fn of_image(file: &File, stop: &dyn Fn() -> bool) -> io::Result<Option<String>> {
    let size = file.metadata()?.len();
    let mut hash = Sha256::new();
    hash.update(b"pyro-image-1\0");
    hash.update(size.to_le_bytes());

    let mut buffer = vec![0; CHUNK];
    let mut position = 0;
    while let Some(start) = seek(file, position, Whence::SeekData)? {
        // Extents begin and end at file system blocks, which may be smaller than ours.
        position = start - start % BLOCK as u64;
        let end = seek(file, start, Whence::SeekHole)?.unwrap_or(size);
        while position < end {
            if stop() {
                return Ok(None);
            }
            let wanted = usize::try_from(end.next_multiple_of(BLOCK as u64) - position)
                .map_or(CHUNK, |rest| rest.min(CHUNK));
            let chunk = &mut buffer[..wanted];
            let filled = read_up_to(file, chunk, position)?;
            if filled == 0 {
                break;
            }
            // The file's last block is hashed as if it went on with zeros.
            chunk[filled..].fill(0);
            for block in chunk.chunks(BLOCK) {
                if block != ZEROS {
                    hash.update((position / BLOCK as u64).to_le_bytes());
                    hash.update(block);
                }
                position += BLOCK as u64;
            }
        }
        // A truncation under our hands must not become an endless loop.
        position = position.max(end);
    }
    Ok(Some(hex(&hash.finalize())))
}

/// The plain SHA-256 of some bytes, as bare hex.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seek(file: &File, from: u64, whence: Whence) -> io::Result<Option<u64>> {
    let from = i64::try_from(from).map_err(io::Error::other)?;
    match lseek(file, from, whence) {
        Ok(at) => Ok(u64::try_from(at).ok()),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], mut position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position)? {
            0 => break,
            read => {
                filled += read;
                position += read as u64;
            }
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(file: &File) -> String {
        of_image(file, &|| false).unwrap().unwrap()
    }

    fn sparse() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 * 1024 * 1024 + 100).unwrap();
        file.write_all_at(b"one", 5000).unwrap();
        file.write_all_at(&vec![7; 3 * CHUNK / 2], 3 * 1024 * 1024 + 17)
            .unwrap();
        file.write_all_at(b"end", 8 * 1024 * 1024 + 97).unwrap();
        file
    }

    #[test]
    fn a_dense_copy_has_the_digest_of_the_sparse_one() {
        let sparse = sparse();
        let dense = tempfile::tempfile().unwrap();
        let mut all = vec![0; sparse.metadata().unwrap().len() as usize];
        read_up_to(&sparse, &mut all, 0).unwrap();
        dense.write_all_at(&all, 0).unwrap();
        assert_eq!(digest(&sparse), digest(&dense));
    }

    #[test]
    fn a_changed_byte_a_moved_block_and_another_size_are_seen() {
        let before = digest(&sparse());
        let changed = sparse();
        changed.write_all_at(b"x", 7 * 1024 * 1024).unwrap();
        assert_ne!(digest(&changed), before);

        let moved = sparse();
        moved.write_all_at(b"\0\0\0", 5000).unwrap();
        moved.write_all_at(b"one", 5000 + BLOCK as u64).unwrap();
        assert_ne!(digest(&moved), before);

        let longer = sparse();
        longer.set_len(9 * 1024 * 1024).unwrap();
        assert_ne!(digest(&longer), before);
    }

    #[test]
    fn an_empty_image_has_a_digest_and_a_stop_is_obeyed() {
        assert_eq!(digest(&tempfile::tempfile().unwrap()).len(), 64);
        assert_eq!(of_image(&sparse(), &|| true).unwrap(), None);
    }
}
