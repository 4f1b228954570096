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
    stack.visit_all(progress, |at, found, length| {
        let Found::Data(number) = found else {
            return Ok(length);
        };
        if number == 0
            && let Some(base) = &base
        {
            let hole = next_data(base, at).saturating_sub(at);
            if hole > 0 {
                return Ok(hole.min(length));
            }
        }
        let piece = stack.read(number, at, length, &mut buffer)?;
        for (number, part) in piece.chunks(HOLE).enumerate() {
            if part.iter().any(|&byte| byte != 0) {
                let place = at + (number * HOLE) as u64;
                to.write_all_at(part, place).map_err(failed)?;
            }
        }
        Ok(piece.len() as u64)
    })?;
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
