//! Ways into parsers that nobody else calls, for the targets in `fuzz/`.

use crate::import;

/// Reads bytes as each of the files that say something about a source, and tells whether one does.
pub fn source_files(bytes: &[u8]) -> bool {
    import::try_files(bytes)
}
