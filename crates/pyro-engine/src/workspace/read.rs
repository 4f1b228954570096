//! Reads part of a file: by bytes, or by lines.

use pyro_wire::files::Meta;

use super::files::{self, FilesError};
use super::paths::GuestPath;
use crate::engine::Engine;
use crate::store::StoredWorkspace;

/// How much is looked through at once for the beginning of a line.
const STEP: u64 = 1024 * 1024;

/// Which part of a file is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadRange {
    pub(crate) offset: u64,
    /// Counted from 1; in place of the offset.
    pub(crate) start_line: Option<u64>,
    pub(crate) line_count: Option<u64>,
    pub(crate) max_bytes: u64,
}

/// A part of a file.
pub(crate) struct ReadBytes {
    pub(crate) meta: Meta,
    pub(crate) size: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Engine {
    pub(crate) async fn read_part(
        &self,
        stored: &StoredWorkspace,
        path: &GuestPath,
        part: ReadRange,
    ) -> Result<ReadBytes, FilesError> {
        let offset = match part.start_line {
            None => part.offset,
            Some(line) => self.beginning_of_line(stored, path, line).await?,
        };
        let line = self.reconnect_files(stored, "read the file").await?;
        let piece = files::read(line, path.bytes(), offset, part.max_bytes).await?;
        let mut bytes = piece.bytes;
        if let Some(count) = part.line_count {
            bytes.truncate(end_of_line(&bytes, count).unwrap_or(bytes.len()));
        }
        Ok(ReadBytes {
            meta: piece.meta,
            size: piece.stamp.size,
            offset,
            bytes,
        })
    }

    /// The offset at which a line begins; the end of the file when it has fewer lines.
    async fn beginning_of_line(
        &self,
        stored: &StoredWorkspace,
        path: &GuestPath,
        line: u64,
    ) -> Result<u64, FilesError> {
        let mut before = line.saturating_sub(1);
        let mut offset = 0;
        while before > 0 {
            let stream = self.reconnect_files(stored, "read the file").await?;
            let piece = files::read(stream, path.bytes(), offset, STEP).await?;
            if let Some(end) = end_of_line(&piece.bytes, before) {
                return Ok(offset + end as u64);
            }
            before -= piece.bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            offset += piece.bytes.len() as u64;
            if (piece.bytes.len() as u64) < STEP {
                break;
            }
        }
        Ok(offset)
    }
}

/// Where the given number of lines ends, its line feed included.
fn end_of_line(bytes: &[u8], count: u64) -> Option<usize> {
    let Some(nth) = count.checked_sub(1) else {
        return Some(0);
    };
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let (index, _) = ends.nth(usize::try_from(nth).ok()?)?;
    Some(index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_behind_their_line_feeds() {
        let text = b"one\ntwo\nthree";
        assert_eq!(end_of_line(text, 0), Some(0));
        assert_eq!(end_of_line(text, 1), Some(4));
        assert_eq!(end_of_line(text, 2), Some(8));
        assert_eq!(end_of_line(text, 3), None);
    }
}
