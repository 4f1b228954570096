//! What file systems say of space: free where something will be written, taken by what is there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Free bytes where `path` is, or would be once created.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let there: PathBuf = std::path::absolute(path)?
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(Path::new("/"))
        .to_owned();
    let stat = nix::sys::statvfs::statvfs(&there)?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// The blocks that a file or a tree takes; what cannot be read counts as nothing.
pub(crate) fn allocated_bytes(path: &Path) -> u64 {
    bytes_of(path, &|_| true)
}

/// The same of what is gone when that is removed: a file with another name elsewhere is not.
pub(crate) fn own_bytes(path: &Path) -> u64 {
    bytes_of(path, &|file| file.is_dir() || file.nlink() == 1)
}

fn bytes_of(path: &Path, counts: &dyn Fn(&fs::Metadata) -> bool) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let own = match counts(&metadata) {
        true => metadata.blocks() * 512,
        false => 0,
    };
    if !metadata.is_dir() {
        return own;
    }
    let children = fs::read_dir(path).into_iter().flatten().flatten();
    own + children
        .map(|child| bytes_of(&child.path(), counts))
        .sum::<u64>()
}
