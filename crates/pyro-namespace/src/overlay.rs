//! A chain of folders as one file system, by the kernel's overlayfs. For a process that is root in a user
//! namespace and has mounts of its own.
//!
//! What is changed in it lies in the top folder of the host, as it changes: a flush in there is one of
//! the host, and a killed process loses nothing that was flushed. Without a top one the whole is only read.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{
    FUSE_SUPER_MAGIC, MSDOS_SUPER_MAGIC, NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, SMB_SUPER_MAGIC,
    statfs,
};
use serde::{Deserialize, Serialize};

/// Folders that lie on one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// What is only read, top first.
    pub lower: Vec<PathBuf>,
    /// The folder that holds `upper` and `work`.
    pub top: Option<PathBuf>,
    /// Nobody will look for what is on it when the host has crashed.
    pub disposable: bool,
}

/// What a layer shows, of the two folders that it is made of: the other one is the kernel's to work in.
pub fn upper(layer: &Path) -> PathBuf {
    layer.join("upper")
}

/// The folders that show something, top first, as they lie on one another: of layers, bottom first, on a
/// tree of files.
pub fn shown<'a>(
    tree: &Path,
    layers: impl IntoIterator<Item = &'a Path, IntoIter: DoubleEndedIterator>,
) -> Vec<PathBuf> {
    let layers = layers.into_iter().rev().map(upper);
    layers.chain([tree.to_owned()]).collect()
}

/// Mounts layers at `target`, above `bottom`. Leaves the current folder for `names`, an empty one,
/// which has short names for the layers afterwards.
pub fn mount_layers(layers: &Layers, bottom: &Path, names: &Path, target: &Path) -> io::Result<()> {
    // All options together may have one page, which a few paths fill; and paths may hold the
    // characters that divide them. Names of our own are short and hold digits.
    for (number, layer) in layers.lower.iter().enumerate() {
        symlink(layer, names.join(number.to_string()))?;
    }
    symlink(bottom, names.join("bottom"))?;
    let mut flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
    match &layers.top {
        Some(top) => {
            symlink(top, names.join("top"))?;
            if layers.disposable {
                forget_volatile(top);
            }
        }
        None => flags |= MsFlags::MS_RDONLY,
    }
    nix::unistd::chdir(names)?;
    let options = options(layers);
    mount(
        Some("overlay"),
        target,
        Some("overlay"),
        flags,
        Some(options.as_str()),
    )
    .map_err(|error| match &layers.top {
        Some(top) => explain(error, top),
        None => error.into(),
    })
}

/// What to do about a folder that is [not suitable](unsuitable).
pub const SUITABLE: &str =
    "set PYRO_STATE_DIR to a folder on ext4, XFS, Btrfs or tmpfs (in a container, to a volume)";

/// The name of the file system that a folder is on, if that is known not to hold what is changed in an
/// overlay. The folder need not be there yet.
pub fn unsuitable(folder: &Path) -> Option<&'static str> {
    let found = folder.ancestors().find_map(|folder| statfs(folder).ok())?;
    match found.filesystem_type() {
        OVERLAYFS_SUPER_MAGIC => Some("overlayfs itself, as in a container"),
        NFS_SUPER_MAGIC => Some("NFS"),
        FUSE_SUPER_MAGIC => Some("FUSE"),
        SMB_SUPER_MAGIC => Some("SMB"),
        MSDOS_SUPER_MAGIC => Some("FAT"),
        _ => None,
    }
}

/// Names what is known not to bear an overlay, and what does.
fn explain(error: Errno, top: &Path) -> io::Error {
    if error == Errno::ENODEV {
        let words =
            format!("{error}: this host's kernel has no overlayfs (`sudo modprobe overlay`)");
        return io::Error::new(io::Error::from(error).kind(), words);
    }
    let Some(name) = unsuitable(top) else {
        return error.into();
    };
    let words = format!(
        "{error}: {} is on {name}, which cannot hold what a sandbox changes; {SUITABLE}",
        top.display()
    );
    io::Error::new(io::Error::from(error).kind(), words)
}

fn options(layers: &Layers) -> String {
    let lower: Vec<String> = (0..layers.lower.len())
        .map(|number| number.to_string())
        .collect();
    // In a user namespace overlayfs may keep its own notes in `user.*` attributes only.
    let mut options = format!("userxattr,lowerdir={}:bottom", lower.join(":"));
    if layers.top.is_none() {
        return options;
    }
    options.push_str(",upperdir=top/upper,workdir=top/work");
    if layers.disposable {
        // Flushes are for disks that somebody may look for after a crash of the host.
        options.push_str(",volatile");
    }
    options
}

/// A disk that was mounted without flushes is not mounted again, for a crash may have come between.
/// This one was in use by an earlier attempt of the same boot.
fn forget_volatile(top: &Path) {
    let _ = fs::remove_dir_all(top.join("work/work/incompat"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_layers_fit_in_a_page() {
        let layers = Layers {
            lower: (0..500)
                .map(|number| format!("/a, long: path/{number}").into())
                .collect(),
            top: Some("/top".into()),
            disposable: true,
        };
        let options = options(&layers);
        assert!(options.len() < 4096, "{}", options.len());
        assert!(options.contains("lowerdir=0:1:2:"));
    }
}
