//! Ways into parsers that nobody else calls, for the targets in `fuzz/`.

use crate::import;

/// Reads bytes as each of the files that say something about a source.
pub fn source_files(bytes: &[u8]) {
    import::try_files(bytes);
}
