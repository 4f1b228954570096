//! Recognises a full disk behind another error.

use std::path::Path;

use crate::{CatalogError, disk_usage};

/// Less than this left after a failure means that the failure was a full disk, whatever the
/// tools said: some clean up behind themselves, some only say "write error".
const NEARLY_FULL: u64 = 32 * 1024 * 1024;

const WORDS: [&str; 3] = [
    "No space left on device",
    "Disk quota exceeded",
    "enough free space",
];

/// To be asked before the partial directory goes and gives back its room.
pub(crate) fn or_no_space(error: CatalogError, needed: u64, dir: &Path) -> CatalogError {
    let full = match &error {
        CatalogError::Cancelled => false,
        CatalogError::NoSpace { .. } => true,
        CatalogError::BuildFailed { log_tail, .. }
        | CatalogError::BuildTimedOut { log_tail, .. }
        | CatalogError::FetchFailed { log_tail, .. }
        | CatalogError::FetchTimedOut { log_tail, .. } => {
            let says_so = |line: &String| WORDS.iter().any(|words| line.contains(words));
            log_tail.iter().any(says_so) || nearly_full(dir)
        }
        _ => nearly_full(dir),
    };
    if full {
        CatalogError::no_space(dir, needed)
    } else {
        error
    }
}

fn nearly_full(dir: &Path) -> bool {
    disk_usage::free_bytes(dir).is_ok_and(|free| free < NEARLY_FULL)
}
