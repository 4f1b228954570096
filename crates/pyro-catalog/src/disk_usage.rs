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
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let children = fs::read_dir(path).into_iter().flatten().flatten();
    own + children
        .map(|child| allocated_bytes(&child.path()))
        .sum::<u64>()
}
