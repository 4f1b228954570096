//! A compressed archive, unpacked to a file that has no name: whatever ends this process, nothing is left of it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use nix::fcntl::OFlag;

use crate::OciError;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

const CHUNK: usize = 256 * 1024;

/// Where an archive may be unpacked.
pub struct Room<'a> {
    /// A folder of the disk that has the room.
    pub folder: &'a Path,
    pub most_bytes: u64,
    pub is_stopped: &'a dyn Fn() -> bool,
}

impl Room<'_> {
    /// The archive itself, if it is not compressed.
    pub(super) fn unpacked(&self, mut file: File, path: &Path) -> Result<File, OciError> {
        let unreadable = |source| OciError::Path {
            path: path.to_owned(),
            source,
        };
        let mut start = Vec::new();
        let read = (&file).take(ZSTD.len() as u64).read_to_end(&mut start);
        read.and_then(|_| file.rewind()).map_err(unreadable)?;
        let buffered = BufReader::with_capacity(CHUNK, &file);
        let from: Box<dyn Read> = if start.starts_with(GZIP) {
            Box::new(MultiGzDecoder::new(buffered))
        } else if start.starts_with(ZSTD) {
            Box::new(zstd::Decoder::with_buffer(buffered).map_err(unreadable)?)
        } else {
            return Ok(file);
        };
        self.unpack(from, path)
    }

    fn unpack(&self, mut from: impl Read, path: &Path) -> Result<File, OciError> {
        let kept = |source| OciError::Store {
            path: self.folder.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_TMPFILE.bits())
            .mode(0o600);
        let mut to = options.open(self.folder).map_err(kept)?;
        let mut buffer = vec![0; CHUNK];
        let mut left = self.most_bytes;
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => return Ok(to),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(OciError::NoImage {
                        path: path.to_owned(),
                        why: format!("it is compressed, and cannot be unpacked: {error}"),
                    });
                }
            };
            left = left
                .checked_sub(count as u64)
                .ok_or_else(|| OciError::NoImage {
                    path: path.to_owned(),
                    why: format!(
                        "it unpacks to more than the {} MiB that there is room for",
                        self.most_bytes >> 20
                    ),
                })?;
            to.write_all(&buffer[..count]).map_err(kept)?;
            if (self.is_stopped)() {
                return Err(OciError::Unwanted);
            }
        }
    }
}
