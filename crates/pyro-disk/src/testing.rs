//! Disks for tests, made from folders by the tools that make real ones.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{
    DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder, FormatDriverBuilder, Storage,
    StorageOpenOptions,
};

use crate::layers::Layer;

/// Clusters of a qcow2 layer.
const CLUSTER: usize = 64 * 1024;

pub(crate) fn tool(program: &str, arguments: &[&OsStr]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
}

/// A file system made from a folder. What `mke2fs` does not write keeps the bytes of `filling`, as
/// on a disk that was used before.
pub(crate) fn image(folder: &Path, path: &Path, block_size: &str, mib: usize, filling: u8) {
    fs::write(path, vec![filling; mib << 20]).unwrap();
    let options = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        block_size,
        "-O",
        "^metadata_csum",
    ];
    let mut arguments: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    arguments.extend([OsStr::new("-d"), folder.as_os_str(), path.as_os_str()]);
    tool("mke2fs", &arguments);
}

/// Changes a file system without mounting it.
pub(crate) fn edit(image: &Path, command: &str) {
    let arguments = ["-w", "-R", command].map(OsStr::new);
    tool("debugfs", &[&arguments[..], &[image.as_os_str()]].concat());
}

/// A layer that makes `before` look like `after`.
pub(crate) fn layer(before: &Path, after: &Path, path: &Path) -> Layer {
    let before = fs::read(before).unwrap();
    let after = fs::read(after).unwrap();
    fs::write(path, "").unwrap();
    let open = || File::open(StorageOpenOptions::new().write(true).filename(path)).unwrap();
    Qcow2::<File>::create_builder(open())
        .size(after.len() as u64)
        .create()
        .unwrap();
    let access = FormatAccess::new(
        Qcow2::<File>::builder(open())
            .write(true)
            .open(DenyImplicitOpenGate::default())
            .unwrap(),
    );
    for (at, cluster) in after.chunks(CLUSTER).enumerate() {
        let offset = at * CLUSTER;
        if before[offset..offset + cluster.len()] != *cluster {
            access.write(cluster, offset as u64).unwrap();
        }
    }
    access.flush().unwrap();
    Layer::qcow2(path)
}
