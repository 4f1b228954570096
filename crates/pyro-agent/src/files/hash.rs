//! Fingerprints of contents, to tell the versions of one file apart.
//!
//! XXH64: on an emulated processor it takes 1,600 MB/s, where SHA-256 takes 33 and BLAKE3 28. It
//! does not withstand somebody who wants equal hashes, but whoever can write to the workspace is
//! root in the guest, and could as well write to the index.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use pyro_wire::sparse::{self, Part};
use xxhash_rust::xxh64::Xxh64;

pub(crate) type Hash = u64;

const CHUNK: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Hasher(Xxh64);

impl Hasher {
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// Takes what a hole of this length reads as.
    pub(crate) fn zeros(&mut self, mut count: u64) {
        const ZEROS: [u8; CHUNK] = [0; CHUNK];
        while count > 0 {
            let some = usize::try_from(count).map_or(CHUNK, |count| count.min(CHUNK));
            self.0.update(&ZEROS[..some]);
            count -= some as u64;
        }
    }

    pub(crate) fn finish(&self) -> Hash {
        self.0.digest()
    }
}

/// The hash of all that a file reads as. Its holes are not read.
pub(crate) fn of_file(mut file: &File) -> io::Result<Hash> {
    let mut hasher = Hasher::default();
    let about = file.metadata()?;
    let size = about.len();
    let parts = sparse::parts_of(file, size, about.blocks().cast_signed())?;
    file.rewind()?;
    let Some(parts) = parts else {
        hash_part(&mut hasher, file, u64::MAX)?;
        return Ok(hasher.finish());
    };
    let mut at = 0;
    for Part { offset, length } in parts {
        hasher.zeros(offset - at);
        file.seek(SeekFrom::Start(offset))?;
        hash_part(&mut hasher, file, length)?;
        at = offset + length;
    }
    hasher.zeros(size - at);
    Ok(hasher.finish())
}

fn hash_part(hasher: &mut Hasher, file: &File, length: u64) -> io::Result<()> {
    let mut part = file.take(length);
    let mut chunk = vec![0; CHUNK];
    loop {
        match part.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => hasher.update(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn holes_have_the_hash_of_zeros() {
        let (sparse, dense) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut all = vec![0; 3 * 1024 * 1024 + 5];
        dense.write_all_at(&all, 0).unwrap();
        sparse.set_len(all.len() as u64).unwrap();
        assert_eq!(of_file(&sparse).unwrap(), of_file(&dense).unwrap());
        for at in [1024 * 1024, 2 * 1024 * 1024 + 77] {
            all[at] = 1;
            sparse.write_all_at(b"\x01", at as u64).unwrap();
        }
        dense.write_all_at(&all, 0).unwrap();
        assert_eq!(of_file(&sparse).unwrap(), of_file(&dense).unwrap());
    }
}
