//! A VM's own disk layer: an empty qcow2 image on top of the environment's.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, Storage, StorageOpenOptions};
use pyro_catalog::Installed;
use pyro_wire::launch::{DiskFormat, DiskLayer};

/// File name of the layer in the folder of a VM, and of a mounted template.
pub(crate) const LAYER: &str = "disk.qcow2";

/// Folder that stands in for `/workspace` when commands run on the host.
pub(crate) const HOST_WORKSPACE: &str = "workspace";

/// Where the layer of a VM, or of a template, is in its folder.
pub(crate) fn own_layer(folder: &Path) -> PathBuf {
    folder.join(LAYER)
}

/// Makes an empty layer.
pub(crate) fn create_layer(path: &Path, base: &Installed) -> io::Result<()> {
    create_empty(path, base.virtual_size)
}

/// Returns when a layer, and its name, survive a power cut.
pub(crate) fn settle(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Makes an empty layer of a disk of this size.
pub(crate) fn create_empty(path: &Path, size: u64) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let file = File::open(StorageOpenOptions::new().write(true).filename(path))?;
    // No backing file is named in the header: the shim names the whole chain itself, and a
    // template is built in another place than it is used in.
    Qcow2::<File>::create_builder(file).size(size).create()
}

/// A root disk, bottom first: the environment's image, the layer of a mounted template, own layers.
pub(crate) fn chain(
    base: &Installed,
    template: Option<&Path>,
    layers: impl IntoIterator<Item = PathBuf>,
) -> Vec<DiskLayer> {
    let mut chain = vec![image(base)];
    chain.extend(template.map(|folder| layer(&own_layer(folder))));
    chain.extend(layers.into_iter().map(|path| layer(&path)));
    chain
}

/// The disk of a bare template while it is built: as large as any, and empty.
pub(crate) fn blank_chain(own: &Path) -> Vec<DiskLayer> {
    vec![layer(own)]
}

fn image(base: &Installed) -> DiskLayer {
    DiskLayer {
        path: base.rootfs.clone(),
        format: DiskFormat::Raw,
    }
}

pub(crate) fn layer(path: &Path) -> DiskLayer {
    DiskLayer {
        path: path.to_owned(),
        format: DiskFormat::Qcow2,
    }
}
