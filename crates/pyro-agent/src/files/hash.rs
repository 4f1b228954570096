//! Fingerprints of contents: equal ones mean equal contents.

use std::fs::File;
use std::io::{self, Read};

/// Half of a BLAKE3 hash, which is plenty to tell the versions of one file apart.
pub(crate) type Hash = [u8; 16];

const CHUNK: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Hasher(blake3::Hasher);

impl Hasher {
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(crate) fn finish(&self) -> Hash {
        let mut hash = Hash::default();
        self.0.finalize_xof().fill(&mut hash);
        hash
    }
}

/// The hash of what is left to read of a file.
pub(crate) fn of_file(mut file: &File) -> io::Result<Hash> {
    let mut hasher = Hasher::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
