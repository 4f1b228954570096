//! Owner, mode, attributes and times of what was made.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::fchown;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::libc;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};
use pyro_transfer::archive::Attribute;

use super::error::{ApplyError, shown};
use super::tree::{c_string, number};

/// What an overlay keeps in attributes of its layers. A tree that had them could make an overlay over it show
/// what is not there.
const OF_OVERLAYS: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];

/// The highest id of a guest's.
const HIGHEST_ID: u64 = 65_535;

/// Values longer than this find no room on some file systems that are not full.
const SURELY_FITS: usize = 1024;

/// How a member shall be.
pub(super) struct Dress {
    user: u32,
    group: u32,
    mode: u32,
    mtime: TimeSpec,
    attributes: Vec<Attribute>,
}

impl Dress {
    pub(super) fn new(
        path: &[u8],
        owner: (u64, u64),
        mode: u32,
        mtime_ns: i64,
        attributes: &[Attribute],
    ) -> Result<Self, ApplyError> {
        let (user, group) = owner;
        match (user <= HIGHEST_ID, group <= HIGHEST_ID) {
            (true, true) => Ok(Self {
                user: user as u32,
                group: group as u32,
                mode,
                mtime: time(mtime_ns),
                attributes: attributes.to_vec(),
            }),
            _ => Err(ApplyError::Owner {
                name: shown(path),
                user,
                group,
            }),
        }
    }

    pub(super) fn mtime(&self) -> TimeSpec {
        self.mtime
    }

    /// For an open file or folder, in an order in which nothing takes back what came before it: with a new
    /// owner the kernel drops set-user-id bits and capabilities. Returns how many attributes were left out.
    pub(super) fn put_on(&self, file: &impl AsFd, path: &[u8]) -> Result<u64, ApplyError> {
        let made = |errno: Errno| ApplyError::making(path)(errno);
        fchown(file, Some(self.user), Some(self.group)).map_err(ApplyError::making(path))?;
        fchmod(file, Mode::from_bits_truncate(self.mode)).map_err(made)?;
        remove_attributes(file).map_err(made)?;
        let mut left_out = 0;
        for (name, value) in &self.attributes {
            if OF_OVERLAYS.iter().any(|prefix| name.starts_with(prefix)) {
                left_out += 1;
                continue;
            }
            match set_attribute(file, name, value) {
                Ok(()) => {}
                Err(errno @ (Errno::EIO | Errno::EDQUOT)) => return Err(made(errno)),
                Err(Errno::ENOSPC) if value.len() <= SURELY_FITS => {
                    return Err(made(Errno::ENOSPC));
                }
                // Whatever the reason is, the file is of use without it.
                Err(_) => left_out += 1,
            }
        }
        futimens(file, &self.mtime, &self.mtime).map_err(made)?;
        Ok(left_out)
    }

    /// For what cannot be opened. Attributes of links and pipes are left out.
    pub(super) fn put_on_unopened(
        &self,
        folder: &OwnedFd,
        name: &[u8],
        is_link: bool,
        path: &[u8],
    ) -> Result<u64, ApplyError> {
        let made = |errno: Errno| ApplyError::making(path)(errno);
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        fchownat(
            folder,
            name,
            Some(user),
            Some(group),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .map_err(made)?;
        if !is_link {
            // It was made a moment ago, and is no link.
            let mode = Mode::from_bits_truncate(self.mode);
            fchmodat(folder, name, mode, FchmodatFlags::FollowSymlink).map_err(made)?;
        }
        let nofollow = UtimensatFlags::NoFollowSymlink;
        utimensat(folder, name, &self.mtime, &self.mtime, nofollow).map_err(made)?;
        Ok(self.attributes.len() as u64)
    }
}

fn time(nanoseconds: i64) -> TimeSpec {
    const SECOND: i64 = 1_000_000_000;
    TimeSpec::new(
        nanoseconds.div_euclid(SECOND),
        nanoseconds.rem_euclid(SECOND),
    )
}

fn set_attribute(file: &impl AsFd, name: &[u8], value: &[u8]) -> nix::Result<()> {
    let name = c_string(name)?;
    // SAFETY: the descriptor is open, the name ends with a zero, and the value is as long as said.
    let set = unsafe {
        libc::fsetxattr(
            number(file),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(set).map(drop)
}

/// A folder that a layer describes anew has what that layer says, and nothing from below.
fn remove_attributes(file: &impl AsFd) -> nix::Result<()> {
    // SAFETY: the descriptor is open; with a length of 0 nothing is written.
    let needed = unsafe { libc::flistxattr(number(file), std::ptr::null_mut(), 0) };
    let needed = match Errno::result(needed) {
        Ok(0) | Err(Errno::EOPNOTSUPP) => return Ok(()),
        other => usize::try_from(other?).unwrap_or_default(),
    };
    let mut list = vec![0_u8; needed];
    // SAFETY: the descriptor is open, and the buffer is as long as said.
    let filled = unsafe { libc::flistxattr(number(file), list.as_mut_ptr().cast(), list.len()) };
    list.truncate(usize::try_from(Errno::result(filled)?).unwrap_or_default());
    for name in list
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = c_string(name)?;
        // SAFETY: the descriptor is open, and the name ends with a zero. What may not be removed is the
        // host's own, such as a label of its security module.
        let _ = unsafe { libc::fremovexattr(number(file), name.as_ptr()) };
    }
    Ok(())
}
