//! A folder of this host as a source.
//!
//! Nothing is opened through a link: every folder and file is opened by its last name, relative to
//! the open folder that it was seen in. Entries come in the order of their inode numbers, which is
//! about the order on the disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::error::SeedError;
use super::index::GuestIndex;
use super::{MOST_ENTRIES, Packed, Totals, Watch, kept_mode, look};
use crate::workspace::archive::{ArchiveWriter, Member, MemberKind};
use crate::workspace::names::{shown, stays_inside};

/// How much of a file is read at once.
const BUFFER: usize = 256 * 1024;

/// How many entries are visited, and bytes sent, between two looks at the watch.
const LOOK_EVERY: u64 = 256;
const LOOK_EVERY_BYTES: u64 = 4 * 1024 * 1024;

pub(super) fn survey(root: &Path, watch: &mut Watch<'_>) -> Result<Totals, SeedError> {
    let mut totals = Totals::default();
    let mut names = FileNames::default();
    walk(root, |found| {
        let mut member = found.member;
        names.link_if_seen(&mut member, &found.stat);
        totals.add(&member);
        if totals.entries % LOOK_EVERY == 0 {
            look(watch, totals)?;
        }
        Ok(())
    })?;
    look(watch, totals)?;
    Ok(totals)
}

pub(super) fn pack<W: Write>(
    root: &Path,
    index: Option<&GuestIndex>,
    to: &mut ArchiveWriter<W>,
    watch: &mut Watch<'_>,
) -> Result<Packed, SeedError> {
    let mut packed = Packed::default();
    // A file is sent as a link to another name only when that name was sent as well, so the whole
    // source and what is sent of it have first names of their own.
    let mut names = FileNames::default();
    let mut sent_names = FileNames::default();
    let mut buffer = vec![0; BUFFER];
    walk(root, |found| {
        let same = index.is_some_and(|index| index.has(&found.member, changed_ns(&found.stat)));
        let mut member = found.member.clone();
        names.link_if_seen(&mut member, &found.stat);
        packed.whole.add(&member);
        if !same {
            let mut member = found.member.clone();
            sent_names.link_if_seen(&mut member, &found.stat);
            let mut passed = packed.whole;
            passed.bytes -= member.size.min(passed.bytes);
            send(&found, &member, to, &mut buffer, &mut |sent| {
                let bytes = passed.bytes + sent;
                look(watch, Totals { bytes, ..passed })
            })?;
            packed.changed.add(&member);
        }
        if packed.whole.entries % LOOK_EVERY == 0 {
            look(watch, packed.whole)?;
        }
        Ok(())
    })?;
    look(watch, packed.whole)?;
    Ok(packed)
}

/// The first name of each file that has several.
#[derive(Default)]
struct FileNames(HashMap<(u64, u64), Vec<u8>>);

impl FileNames {
    /// Turns a file that came by under another name into a link to that.
    fn link_if_seen(&mut self, member: &mut Member, stat: &FileStat) {
        if member.kind != MemberKind::File || stat.st_nlink < 2 {
            return;
        }
        match self.0.entry((stat.st_dev, stat.st_ino)) {
            Entry::Occupied(first) => {
                let target = first.get().clone();
                member.kind = MemberKind::HardLink { target };
                member.size = 0;
            }
            Entry::Vacant(place) => {
                place.insert(member.name.clone());
            }
        }
    }
}

fn send<W: Write>(
    found: &Found<'_>,
    member: &Member,
    to: &mut ArchiveWriter<W>,
    buffer: &mut [u8],
    watch: &mut dyn FnMut(u64) -> Result<(), SeedError>,
) -> Result<(), SeedError> {
    let stream = |source| SeedError::Stream { source };
    if member.kind != MemberKind::File {
        return to.member(member).map_err(stream);
    }
    let reading = SeedError::reading;
    // Should the name now be a FIFO, opening it must not wait for a writer.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = fcntl::openat(found.folder, found.name, flags, Mode::empty())
        .map_err(reading(&member.name))?;
    let before = fstat(&file).map_err(reading(&member.name))?;
    if !is_same(&before, &found.stat) {
        return Err(SeedError::changed(&member.name));
    }
    to.member(member).map_err(stream)?;
    let mut left = member.size;
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        match nix::unistd::read(&file, &mut buffer[..most]) {
            Ok(0) => return Err(SeedError::changed(&member.name)),
            Ok(count) => {
                to.data(&buffer[..count]).map_err(stream)?;
                let before = member.size - left;
                left -= count as u64;
                let now = member.size - left;
                if before / LOOK_EVERY_BYTES != now / LOOK_EVERY_BYTES {
                    watch(now)?;
                }
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(reading(&member.name)(errno)),
        }
    }
    let after = fstat(&file).map_err(reading(&member.name))?;
    if !is_same(&after, &found.stat) {
        return Err(SeedError::changed(&member.name));
    }
    Ok(())
}

fn is_same(one: &FileStat, other: &FileStat) -> bool {
    let key = |stat: &FileStat| {
        let time = (stat.st_mtime, stat.st_mtime_nsec);
        (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_size, time)
    };
    key(one) == key(other)
}

/// An entry, while the folder it is in is open.
struct Found<'a> {
    folder: BorrowedFd<'a>,
    /// Its last name.
    name: &'a CStr,
    stat: FileStat,
    member: Member,
}

/// An open folder of which some entries were not visited yet.
struct Level {
    folder: OwnedFd,
    /// The last visited first.
    names: Vec<CString>,
    /// Length of the folder's own path, with a slash.
    prefix: usize,
}

/// Visits everything below a folder, each folder before what is in it.
fn walk(
    root: &Path,
    mut visit: impl FnMut(Found<'_>) -> Result<(), SeedError>,
) -> Result<(), SeedError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let folder = fcntl::open(root, flags, Mode::empty())
        .map_err(|errno| SeedError::unusable(root)(errno.into()))?;
    let mut path = Vec::new();
    let mut levels = vec![Level::read(folder, 0, b".")?];
    let mut count = 0;
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        count += 1;
        if count > MOST_ENTRIES {
            return Err(SeedError::TooMany { most: MOST_ENTRIES });
        }
        path.truncate(level.prefix);
        path.extend_from_slice(name.as_bytes());
        let stat = fstatat(&level.folder, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(SeedError::reading(&path))?;
        let member = member(level.folder.as_fd(), &name, &stat, &path)?;
        let is_folder = member.kind == MemberKind::Folder;
        visit(Found {
            folder: level.folder.as_fd(),
            name: &name,
            stat,
            member,
        })?;
        if is_folder {
            let flags = flags | OFlag::O_NOFOLLOW;
            let folder = fcntl::openat(&level.folder, name.as_c_str(), flags, Mode::empty())
                .map_err(SeedError::reading(&path))?;
            path.push(b'/');
            levels.push(Level::read(folder, path.len(), &path)?);
        }
    }
    Ok(())
}

impl Level {
    fn read(folder: OwnedFd, prefix: usize, path: &[u8]) -> Result<Self, SeedError> {
        let reading = || SeedError::reading(path);
        // The reader of names takes a descriptor of its own.
        let own = folder.try_clone().map_err(|source| SeedError::Unreadable {
            name: shown(path),
            source,
        })?;
        let mut entries = Dir::from_fd(own).map_err(reading())?;
        let mut names = Vec::new();
        for entry in entries.iter() {
            let entry = entry.map_err(reading())?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push((entry.ino(), name.to_owned()));
            }
        }
        names.sort_unstable_by(|one, other| other.cmp(one));
        let names = names.into_iter().map(|(_, name)| name).collect();
        Ok(Self {
            folder,
            names,
            prefix,
        })
    }
}

fn member(
    folder: BorrowedFd<'_>,
    name: &CStr,
    stat: &FileStat,
    path: &[u8],
) -> Result<Member, SeedError> {
    let refused = |why| Err(SeedError::refused(path, why));
    let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => MemberKind::File,
        SFlag::S_IFDIR => MemberKind::Folder,
        SFlag::S_IFLNK => {
            let target = fcntl::readlinkat(folder, name)
                .map_err(SeedError::reading(path))?
                .into_vec();
            if !stays_inside(path, &target) {
                return Err(leaves(path, &target));
            }
            MemberKind::Symlink { target }
        }
        SFlag::S_IFIFO => return refused("is a FIFO"),
        SFlag::S_IFSOCK => return refused("is a socket"),
        _ => return refused("is a device"),
    };
    let size = match kind {
        MemberKind::File => u64::try_from(stat.st_size).unwrap_or(0),
        _ => 0,
    };
    Ok(Member {
        name: path.to_vec(),
        kind,
        mode: kept_mode(stat.st_mode),
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        size,
    })
}

/// When its content, name or mode last changed, which nobody can set.
fn changed_ns(stat: &FileStat) -> i64 {
    nanoseconds(stat.st_ctime, stat.st_ctime_nsec)
}

pub(super) fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

pub(super) fn leaves(path: &[u8], target: &[u8]) -> SeedError {
    let target = shown(target);
    SeedError::refused(
        path,
        format!("is a link to `{target}`, outside of the source"),
    )
}
