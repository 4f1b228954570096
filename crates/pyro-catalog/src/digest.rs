//! Names a disk image by its contents, without reading what is not there.
//!
//! The hash covers the image's size and each 4 KiB block that is not all zero, with its
//! index. So a sparse copy and a dense copy of one image have one digest, and hashing
//! 16 GiB of which 200 MB are used takes as long as hashing 200 MB.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest, Sha256};

const BLOCK: usize = 4096;
/// What one processor hashes at a time of a layer.
const PART: u64 = 32 * 1024 * 1024;
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

/// The digest of a file that is hashed while a person waits, by all processors: of its parts, and of what they
/// amount to.
pub(crate) fn of_layer(
    file: &File,
    stop: &(dyn Fn() -> bool + Sync),
) -> io::Result<Option<String>> {
    let size = file.metadata()?.len();
    let count = size.div_ceil(PART);
    let next = AtomicU64::new(0);
    let work = || -> io::Result<Vec<(u64, [u8; 32])>> {
        let mut buffer = vec![0; CHUNK];
        let mut done = Vec::new();
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= count || stop() {
                return Ok(done);
            }
            let mut hash = Sha256::new();
            let end = size.min((part + 1) * PART);
            let mut position = part * PART;
            while position < end {
                let wanted = usize::try_from(end - position).map_or(CHUNK, |rest| rest.min(CHUNK));
                file.read_exact_at(&mut buffer[..wanted], position)?;
                hash.update(&buffer[..wanted]);
                position += wanted as u64;
            }
            done.push((part, hash.finalize().into()));
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut parts = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers.min(count as usize))
            .map(|_| scope.spawn(work))
            .collect();
        let mut parts = Vec::new();
        for worker in workers {
            let done = worker.join();
            parts.extend(done.map_err(|_| io::Error::other("a hashing thread broke"))??);
        }
        Ok::<_, io::Error>(parts)
    })?;
    if stop() {
        return Ok(None);
    }
    parts.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(b"pyro-layer-1\0");
    hash.update(size.to_le_bytes());
    for (_, digest) in parts {
        hash.update(digest);
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
    fn the_digest_of_a_layer_is_of_all_its_bytes_at_their_places() {
        let layer = |edits: &[(u64, &[u8])]| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(2 * PART + 77).unwrap();
            for (at, bytes) in edits {
                file.write_all_at(bytes, *at).unwrap();
            }
            of_layer(&file, &|| false).unwrap().unwrap()
        };
        let one: &[u8] = b"one";
        let digests = [
            layer(&[(5, one)]),
            layer(&[(PART + 5, one)]),
            layer(&[(2 * PART + 70, one)]),
            layer(&[]),
        ];
        assert_eq!(layer(&[(5, one)]), digests[0]);
        let different: std::collections::HashSet<_> = digests.iter().collect();
        assert_eq!(different.len(), digests.len());
        let file = tempfile::tempfile().unwrap();
        assert_eq!(of_layer(&file, &|| false).unwrap().unwrap().len(), 64);
        assert_eq!(of_layer(&sparse(), &|| true).unwrap(), None);
    }

    #[test]
    fn an_empty_image_has_a_digest_and_a_stop_is_obeyed() {
        assert_eq!(digest(&tempfile::tempfile().unwrap()).len(), 64);
        assert_eq!(of_image(&sparse(), &|| true).unwrap(), None);
    }
}
