//! Looks at everything on a disk.

use std::io::Write;

use pyro_disk::Tree;
use pyro_disk::layers::{self, Format, Layer};
use tempfile::NamedTempFile;

/// Entries that are looked at: a folder that is its own parent has no end.
const MOST_ENTRIES: usize = 50;

/// Whether there is something.
pub(super) fn walk(bytes: &[u8], format: Format) -> bool {
    // In memory: a target makes thousands of files in a second.
    let mut file = NamedTempFile::new_in("/dev/shm").expect("a file");
    file.write_all(bytes).expect("written");
    let path = file.path().to_owned();
    let chain = [Layer { path, format }];
    let _ = layers::check(&chain);
    let Ok(tree) = Tree::disk(&chain, b"") else {
        return false;
    };
    let mut left = MOST_ENTRIES;
    let mut folders = vec![Vec::new()];
    while let Some(folder) = folders.pop() {
        for entry in tree.list(&folder).unwrap_or_default() {
            if left == 0 {
                return true;
            }
            left -= 1;
            let path = [folder.as_slice(), b"/", &entry.name].concat();
            let _ = tree.stat(&path);
            let _ = tree.read(&path, 64 * 1024);
            let _ = tree.target(&path);
            let _ = tree.resolve(&path, true);
            folders.push(path);
        }
    }
    left < MOST_ENTRIES
}
