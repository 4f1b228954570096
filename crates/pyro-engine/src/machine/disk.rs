//! A VM's own disk layer: an empty qcow2 image on top of the environment's.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, Storage, StorageOpenOptions};
use pyro_catalog::Installed;
use pyro_wire::launch::{DiskFormat, DiskLayer};

use super::folder::VmFolder;

/// File name of the layer in the VM's folder.
const LAYER: &str = "disk.qcow2";

/// Folder that stands in for `/workspace` when commands run on the host.
pub(crate) const HOST_WORKSPACE: &str = "workspace";

pub(crate) fn create_layer(folder: &VmFolder, base: &Installed) -> io::Result<()> {
    let path = folder.join(LAYER);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let file = File::open(StorageOpenOptions::new().write(true).filename(&path))?;
    Qcow2::<File>::create_builder(file)
        .size(base.virtual_size)
        // For people with qemu-img; the shim names the whole chain itself.
        .backing(base.rootfs.display().to_string(), "raw".to_owned())
        .create()
}

/// The chain that a VM starts from, bottom first.
pub(crate) fn chain(folder: &VmFolder, base: &Installed) -> Vec<DiskLayer> {
    vec![
        DiskLayer {
            path: base.rootfs.clone(),
            format: DiskFormat::Raw,
        },
        DiskLayer {
            path: folder.join(LAYER),
            format: DiskFormat::Qcow2,
        },
    ]
}
