//! Fingerprints of contents, to tell the versions of one file apart.
//!
//! XXH64: on an emulated processor it takes 1,600 MB/s, where SHA-256 takes 33 and BLAKE3 28. It
//! does not withstand somebody who wants equal hashes, but whoever can write to the workspace is
//! root in the guest, and could as well write to the index.

use std::fs::File;
use std::io::{self, Read};

use xxhash_rust::xxh64::Xxh64;

pub(crate) type Hash = u64;

const CHUNK: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Hasher(Xxh64);

impl Hasher {
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(crate) fn finish(&self) -> Hash {
        self.0.digest()
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
