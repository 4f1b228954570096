//! A VM's own disk layer: an empty qcow2 image on top of the environment's.

use std::io;
use std::path::{Path, PathBuf};

use pyro_catalog::Installed;
use pyro_disk::layers;
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
    layers::create(path, base.virtual_size)
}

/// A root disk, bottom first: the environment's image and layers, the layer of a mounted template, own layers.
pub(crate) fn chain(
    base: &Installed,
    template: Option<&Path>,
    layers: impl IntoIterator<Item = PathBuf>,
) -> Vec<DiskLayer> {
    let mut chain = environment(base);
    chain.extend(template.map(|folder| layer(&own_layer(folder))));
    chain.extend(layers.into_iter().map(|path| layer(&path)));
    chain
}

/// The disk of a bare template while it is built: as large as any, and empty.
pub(crate) fn blank_chain(own: &Path) -> Vec<DiskLayer> {
    vec![layer(own)]
}

/// What the disks of an environment's guests have in common.
pub(crate) fn environment(base: &Installed) -> Vec<DiskLayer> {
    let image = DiskLayer {
        path: base.rootfs.clone(),
        format: DiskFormat::Raw,
    };
    let layers = base.layers.iter().map(|path| layer(path));
    std::iter::once(image).chain(layers).collect()
}

pub(crate) fn layer(path: &Path) -> DiskLayer {
    DiskLayer {
        path: path.to_owned(),
        format: DiskFormat::Qcow2,
    }
}
