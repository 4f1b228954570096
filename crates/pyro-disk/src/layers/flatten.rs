//! One raw image of all that a chain of layers shows.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::error::LayerError;
use super::layer::{Format, Layer};
use super::stack::{Found, PIECE, Stack};

/// The smallest piece of zeros that becomes a hole.
const HOLE: usize = 4096;

/// Writes the disk that some layers, bottom first, show into an empty file, with holes where it is
/// zero. `progress` gets how far it has come and the whole, in bytes, and may cancel. Returns the
/// length of the image.
pub fn flatten(
    layers: &[Layer],
    to: &File,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<u64, LayerError> {
    let stack = Stack::open(layers)?;
    let size = stack.size();
    let failed = |source| LayerError::Write {
        path: path.to_owned(),
        source,
    };
    to.set_len(size).map_err(failed)?;
    // Most of the image at the bottom is holes, which nobody has to read.
    let base = match layers.first() {
        Some(layer) if layer.format == Format::Raw => File::open(&layer.path).ok(),
        _ => None,
    };
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        if progress(at, size).is_break() {
            return Err(LayerError::Cancelled);
        }
        let (found, length) = stack.look(at, size - at)?;
        let end = at + length;
        let Found::Data(number) = found else {
            at = end;
            continue;
        };
        while at < end {
            if number == 0
                && let Some(base) = &base
            {
                at = next_data(base, at).min(end);
                if at == end {
                    break;
                }
            }
            let count = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let piece = &mut buffer[..count];
            stack.read(number, at, piece)?;
            for (number, part) in piece.chunks(HOLE).enumerate() {
                if part.iter().any(|&byte| byte != 0) {
                    let place = at + (number * HOLE) as u64;
                    to.write_all_at(part, place).map_err(failed)?;
                }
            }
            at += count as u64;
            if progress(at, size).is_break() {
                return Err(LayerError::Cancelled);
            }
        }
    }
    to.sync_all().map_err(failed)?;
    Ok(size)
}

/// Where the next byte is that a file holds and that is not in a hole.
fn next_data(file: &File, at: u64) -> u64 {
    let Ok(offset) = i64::try_from(at) else {
        return at;
    };
    match lseek(file.as_fd(), offset, Whence::SeekData) {
        Ok(data) => u64::try_from(data).unwrap_or(at),
        Err(Errno::ENXIO) => u64::MAX,
        // A file system that knows no holes.
        Err(_) => at,
    }
}
