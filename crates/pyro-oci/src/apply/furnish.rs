//! What a guest needs of a root file system: places to mount on, and files that its agent writes. An image
//! of one program has none of them.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::error::ApplyError;
use super::tree::Tree;

/// Folders and their modes.
const FOLDERS: [(&[u8], u32); 9] = [
    (b"dev", 0o755),
    (b"etc", 0o755),
    (b"proc", 0o755),
    (b"root", 0o700),
    (b"run", 0o755),
    (b"sys", 0o755),
    (b"tmp", 0o1777),
    (b"var", 0o755),
    (b"workspace", 0o755),
];

/// Files of `/etc` that belong to a guest, and not to an image. As links they would lead to where nothing is.
const OF_GUESTS: [&[u8]; 4] = [b"hostname", b"hosts", b"machine-id", b"resolv.conf"];

pub(super) fn furnish(tree: &Tree) -> Result<(), ApplyError> {
    let root = tree.root();
    for (name, mode) in FOLDERS {
        let made = ApplyError::making(name);
        match mkdirat(root, name, Mode::S_IRWXU) {
            // As the image has it, even as a link to another place.
            Err(Errno::EEXIST) => continue,
            other => other,
        }
        .and_then(|()| {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let folder = openat(root, name, flags, Mode::empty())?;
            fchmod(&folder, Mode::from_bits_truncate(mode))
        })
        .map_err(made)?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let etc = match openat(root, &b"etc"[..], flags, Mode::empty()) {
        Err(Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
        other => other.map_err(ApplyError::making(b"etc"))?,
    };
    for name in OF_GUESTS {
        let path = [b"etc/", name].concat();
        own_file(&etc, name).map_err(ApplyError::making(&path))?;
    }
    Ok(())
}

/// Sees to it that there is a file of that name.
fn own_file(folder: &impl AsFd, name: &[u8]) -> nix::Result<()> {
    match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) if found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits() => {
            unlinkat(folder, name, UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(_) => return Ok(()),
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    fchmod(&file, Mode::from_bits_truncate(0o644))
}
