//! Bytes that lie somewhere in a file: a blob of a layout, or a member of an archive.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::{Digest, OciError};

/// The longest manifest, configuration or index that is read.
pub(crate) const LONGEST_DOCUMENT: u64 = 4 * 1024 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl Blob {
    pub(crate) fn reader(&self) -> BlobReader<&File> {
        BlobReader::new(&self.file, self)
    }

    pub(crate) fn into_reader(self) -> BlobReader<Arc<File>> {
        BlobReader::new(Arc::clone(&self.file), &self)
    }

    /// A short one, as a whole.
    pub(crate) fn document(&self, what: &str) -> Result<Vec<u8>, OciError> {
        if self.size > LONGEST_DOCUMENT {
            return Err(OciError::TooLong {
                what: what.to_owned(),
                most: LONGEST_DOCUMENT,
            });
        }
        let mut bytes = Vec::new();
        let read = self.reader().read_to_end(&mut bytes);
        read.map_err(|source| OciError::Unreadable {
            what: what.to_owned(),
            source,
        })?;
        Ok(bytes)
    }

    /// The same, if it is what its digest says.
    pub(crate) fn verified(&self, what: &str, expected: &Digest) -> Result<Vec<u8>, OciError> {
        let bytes = self.document(what)?;
        let found = Digest::of(&bytes);
        match found == *expected {
            true => Ok(bytes),
            false => Err(OciError::WrongDigest {
                what: what.to_owned(),
                expected: expected.clone(),
                found,
            }),
        }
    }
}

impl AsFd for Blob {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Reads a part of a file by position, as others may read the same open file.
pub(crate) struct BlobReader<F> {
    file: F,
    at: u64,
    left: u64,
    size: u64,
}

impl<F> BlobReader<F> {
    fn new(file: F, blob: &Blob) -> Self {
        Self {
            file,
            at: blob.offset,
            left: blob.size,
            size: blob.size,
        }
    }

    pub(crate) fn consumed(&self) -> u64 {
        self.size - self.left
    }
}

impl<F: Deref<Target = File>> Read for BlobReader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
