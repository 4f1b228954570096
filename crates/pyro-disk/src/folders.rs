//! Folders that are made and entered by descriptor, in which no link is followed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{self, OFlag};
use nix::sys::stat::{Mode, mkdirat};

/// How many folders may lie in one another: each is a descriptor or two. No path that people use has
/// as many parts, but a guest could go from one folder to the next.
pub(crate) const DEEPEST: usize = 400;

/// The longest path that Linux takes, without the zero at its end.
pub(crate) const LONGEST: usize = 4095;

const FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

pub(crate) fn open(path: &Path) -> nix::Result<OwnedFd> {
    fcntl::open(path, FLAGS, Mode::empty())
}

pub(crate) fn enter(above: &impl AsFd, name: &[u8]) -> nix::Result<OwnedFd> {
    fcntl::openat(above, name, FLAGS, Mode::empty())
}

/// Makes a folder that nobody else reads as long as it is not whole.
pub(crate) fn make(above: &impl AsFd, name: &[u8]) -> nix::Result<OwnedFd> {
    mkdirat(above, name, Mode::S_IRWXU)?;
    enter(above, name)
}

/// Names with the numbers of their inodes, in the order of those, which is about that on the disk.
pub(crate) fn names(folder: &impl AsFd) -> nix::Result<Vec<(u64, Vec<u8>)>> {
    let mut names = Vec::new();
    for entry in Dir::from_fd(enter(folder, b".")?)?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push((entry.ino(), name.to_vec()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The path of something in a folder; `None` when it is too long.
pub(crate) fn join(folder: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let path = match folder {
        b"" => name.to_vec(),
        folder => [folder, b"/", name].concat(),
    };
    (path.len() <= LONGEST).then_some(path)
}
