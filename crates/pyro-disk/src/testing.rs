//! Disks for tests, made from folders by the tools that make real ones, and what is in a folder.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{
    DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder, FormatDriverBuilder, Storage,
    StorageOpenOptions,
};

use nix::unistd::geteuid;

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

/// All that matters of a file, besides what is in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) size: u64,
    pub(crate) names: u64,
    pub(crate) seconds: i64,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn seen(folder: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    let mut ahead = vec![PathBuf::new()];
    while let Some(path) = ahead.pop() {
        let full = folder.join(&path);
        let found = fs::symlink_metadata(&full).unwrap();
        let (is_folder, is_link) = (found.is_dir(), found.is_symlink());
        // Who is not root cannot look everywhere, so this looks before others are asked to.
        if is_folder && !geteuid().is_root() {
            fs::set_permissions(&full, fs::Permissions::from_mode(0o700)).unwrap();
        }
        if is_folder {
            let entries = fs::read_dir(&full).unwrap();
            ahead.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
        }
        let content = match (found.is_file(), is_link) {
            (true, _) => fs::read(&full).unwrap_or_default(),
            (_, true) => fs::read_link(&full)
                .unwrap()
                .into_os_string()
                .as_bytes()
                .to_vec(),
            _ => Vec::new(),
        };
        all.insert(
            path,
            Seen {
                mode: found.mode(),
                owner: (found.uid(), found.gid()),
                size: if is_folder { 0 } else { found.size() },
                names: if is_folder { 0 } else { found.nlink() },
                seconds: found.mtime(),
                content,
            },
        );
    }
    all
}

/// What a file has as an extended attribute; nothing where it has none.
pub(crate) fn attribute(path: &Path, name: &std::ffi::CStr) -> Vec<u8> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut value = vec![0; 4096];
    // SAFETY: both strings end with a zero, and the buffer is as long as said.
    let length = unsafe {
        nix::libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    value.truncate(length.try_into().unwrap_or(0));
    value
}
