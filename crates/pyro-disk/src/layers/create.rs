//! New layers, which show what is below them.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, Storage, StorageOpenOptions};

/// Makes an empty qcow2 layer of a disk of this size, where nothing is yet; only its owner may read
/// it.
pub fn create(path: &Path, size: u64) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let file = File::open(StorageOpenOptions::new().write(true).filename(path))?;
    // No backing file is named in the header: whoever uses the layer names the whole chain, and a
    // layer may be used in another place than it was made in.
    Qcow2::<File>::create_builder(file).size(size).create()
}

/// Returns when a layer, and its name, survive a power cut.
pub fn sync(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
