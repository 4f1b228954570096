//! A VM's own disk layer: an empty qcow2 image on top of the environment's.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, Storage, StorageOpenOptions};
use pyro_catalog::Installed;
use pyro_wire::launch::{DiskFormat, DiskLayer};

use super::folder::VmFolder;

/// File name of the layer in the folder of a VM, and of a mounted template.
pub(crate) const LAYER: &str = "disk.qcow2";

/// Folder that stands in for `/workspace` when commands run on the host.
pub(crate) const HOST_WORKSPACE: &str = "workspace";

/// Makes the empty layer of a VM, or of a template while it is built, in its folder.
pub(crate) fn create_layer(folder: &Path, base: &Installed) -> io::Result<()> {
    let path = folder.join(LAYER);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let file = File::open(StorageOpenOptions::new().write(true).filename(&path))?;
    // No backing file is named in the header: the shim names the whole chain itself, and a
    // template is built in another place than it is used in.
    Qcow2::<File>::create_builder(file)
        .size(base.virtual_size)
        .create()
}

pub(crate) fn remove_layer(folder: &Path) -> io::Result<()> {
    std::fs::remove_file(folder.join(LAYER))
}

/// The chain that a VM starts from, bottom first: its own layer, on that of the template's folder
/// which it was made on.
pub(crate) fn chain(
    folder: &VmFolder,
    base: &Installed,
    template: Option<&Path>,
) -> Vec<DiskLayer> {
    let mut chain = vec![image(base)];
    chain.extend(template.map(|folder| layer(&folder.join(LAYER))));
    chain.push(layer(&folder.join(LAYER)));
    chain
}

/// The chain of a mounted template while it is built.
pub(crate) fn template_chain(folder: &Path, base: &Installed) -> Vec<DiskLayer> {
    vec![image(base), layer(&folder.join(LAYER))]
}

/// The disk of a bare template while it is built: as large as any, and empty.
pub(crate) fn blank_chain(folder: &Path) -> Vec<DiskLayer> {
    vec![layer(&folder.join(LAYER))]
}

fn image(base: &Installed) -> DiskLayer {
    DiskLayer {
        path: base.rootfs.clone(),
        format: DiskFormat::Raw,
    }
}

fn layer(path: &Path) -> DiskLayer {
    DiskLayer {
        path: path.to_owned(),
        format: DiskFormat::Qcow2,
    }
}
