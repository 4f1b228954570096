//! What tells that this is still the same: the host's start, and a file that nobody reads for it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Another one after each start of the host.
pub(crate) fn host_boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What tells one version of a file from another without reading it.
pub(crate) fn of_file(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&path) {
        Ok(found) => format!(
            "{} {} {}.{:09}",
            path.display(),
            found.size(),
            found.mtime(),
            found.mtime_nsec()
        ),
        Err(_) => path.display().to_string(),
    }
}
