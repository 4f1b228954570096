//! Single files and links of an archive, made by their last name in an open folder.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, symlinkat};

use super::attributes::{mode, time};
use super::error::ExportError;
use super::open_folders::OpenFolders;
use super::pass::Pass;
use crate::archive::{ArchiveReader, Member};
use crate::names::split;

/// Writes the data of the current member. The outer error ends the export; the inner one is about
/// this name.
pub(super) fn put_file<R: Read>(
    folder: BorrowedFd<'_>,
    name: &CStr,
    member: &Member,
    reader: &mut ArchiveReader<R>,
    pass: &mut Pass<'_>,
) -> Result<Result<(), Errno>, ExportError> {
    let failed = |source| ExportError::write(&member.name, source);
    let file = match create(folder, name) {
        Ok(file) => file,
        Err(errno) => return Ok(Err(errno)),
    };
    let mut written = 0;
    loop {
        let (at, count) = reader.read_part(&mut pass.buffer)?;
        let data = &pass.buffer[..count];
        if data.is_empty() {
            break;
        }
        // Zeros that the guest wrote would fill this host for nothing.
        if data.iter().any(|&byte| byte != 0) {
            file.write_all_at(data, at).map_err(failed)?;
        }
        written += count as u64;
        pass.totals.bytes += count as u64;
        pass.report()?;
    }
    // What is in its holes.
    pass.totals.bytes += member.size.saturating_sub(written);
    let finish = || -> Result<(), io::Error> {
        if file.metadata()?.len() < member.size {
            file.set_len(member.size)?;
        }
        fchmod(&file, mode(member.mode))?;
        futimens(&file, &TimeSpec::UTIME_OMIT, &time(member.mtime_ns))?;
        Ok(())
    };
    finish().map_err(failed)?;
    Ok(Ok(()))
}

pub(super) fn put_symlink(
    folder: BorrowedFd<'_>,
    name: &CStr,
    target: &[u8],
    member: &Member,
) -> Result<(), Errno> {
    symlinkat(target, folder, name)?;
    let flags = UtimensatFlags::NoFollowSymlink;
    let mtime = time(member.mtime_ns);
    utimensat(folder, name, &TimeSpec::UTIME_OMIT, &mtime, flags)
}

/// Gives a file that was unpacked before another name; where that cannot be, a copy.
pub(super) fn put_link(
    folders: &mut OpenFolders,
    target: &[u8],
    folder: BorrowedFd<'_>,
    name: &CStr,
) -> Result<(), Errno> {
    let (above, last) = split(target);
    let last = CString::new(last).map_err(|_| Errno::EINVAL)?;
    let first = folders.enter(above)?;
    let stat = fstatat(first, last.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Errno::ENOENT);
    }
    match linkat(first, last.as_c_str(), folder, name, AtFlags::empty()) {
        Err(Errno::EPERM | Errno::EMLINK | Errno::EOPNOTSUPP) => {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let from = fcntl::openat(first, last.as_c_str(), flags, Mode::empty())?;
            let to = create(folder, name)?;
            let copied = io::copy(&mut File::from(from), &mut &to);
            copied.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
            fchmod(&to, mode(stat.st_mode))?;
            let mtime = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
            futimens(&to, &TimeSpec::UTIME_OMIT, &mtime)
        }
        other => other,
    }
}

fn create(folder: BorrowedFd<'_>, name: &CStr) -> Result<File, Errno> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let own = Mode::S_IRUSR | Mode::S_IWUSR;
    fcntl::openat(folder, name, flags, own).map(File::from)
}
