//! A root folder of one's own, from inside of a mount namespace.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};

const NONE: Option<&str> = None;

/// Makes a place, which is a mount, the root of everything, and lets go of what was the root.
pub fn enter(place: &Path) -> io::Result<()> {
    nix::unistd::chdir(place)?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(nix::unistd::chdir("/")?)
}

/// Makes a mount and all that is mounted below it read-only, without set-user-ID and without devices.
pub fn forbid_writing(at: &Path) -> io::Result<()> {
    match forbid_at_once(at) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => forbid_one_by_one(at),
        done => done,
    }
}

fn forbid_at_once(at: &Path) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_bytes()).map_err(io::Error::other)?;
    /// What is set, what is cleared, how it propagates, and a user namespace (`struct mount_attr`).
    const RDONLY_NOSUID_NODEV: u64 = 1 | 2 | 4;
    let attributes: [u64; 4] = [RDONLY_NOSUID_NODEV, 0, 0, 0];
    // SAFETY: the path ends with null, and the attributes are as long as is said.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Before Linux 5.12. What the host forbids on a file system stays so by asking for all of it.
fn forbid_one_by_one(at: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(Path::new)
        .filter(|path| path.starts_with(at));
    for path in below {
        forbid_writing_here(path)?;
    }
    Ok(())
}

/// Makes one mount read-only. What the host forbids on the file system that it is of stays so: a
/// user namespace may not even ask for less.
pub fn forbid_writing_here(at: &Path) -> io::Result<()> {
    let found = statvfs(at)?.flags();
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| found.contains(*flag));
    let kept: MsFlags = kept.map(|(_, flag)| flag).collect();
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | kept;
    Ok(mount(NONE, at, NONE, flags, NONE)?)
}
