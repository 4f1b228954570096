//! A chain of folders as one file system, of which this process sees as much as it needs. For a process
//! inside.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount as mount_at, umount2};
use pyro_namespace::overlay::{self, Layers};

const NONE: Option<&str> = None;

/// Mounts folders, top first, on one another and only to be read. Returns where.
///
/// There is a file system in memory around it, over the top one of the folders: that is there in any
/// case, and in this mount namespace nobody else looks for it.
pub(super) fn mount(folders: &[&Path]) -> io::Result<PathBuf> {
    mount_at(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    // By descriptors they are found below what is mounted there, too.
    let opened: Vec<OwnedFd> = folders
        .iter()
        .map(|folder| open(folder))
        .collect::<Result<_, _>>()?;
    let place = folders.first().ok_or(io::ErrorKind::InvalidInput)?;
    mount_at(
        Some("tmpfs"),
        *place,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        Some("mode=700,size=1m"),
    )?;
    let [bottom, names, target] = ["bottom", "names", "disk"].map(|name| place.join(name));
    for folder in [&bottom, &names, &target] {
        fs::create_dir(folder)?;
    }
    let layers = Layers {
        lower: opened
            .iter()
            .map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd()).into())
            .collect(),
        top: None,
        disposable: false,
    };
    overlay::mount_layers(&layers, &bottom, &names, &target)?;
    Ok(target)
}

/// Makes a place the root of everything, and lets go of what was the root.
pub(super) fn enter(place: &Path) -> io::Result<()> {
    nix::unistd::chdir(place)?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir("/")?;
    Ok(())
}

fn open(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(folder)?;
    Ok(opened.into())
}
