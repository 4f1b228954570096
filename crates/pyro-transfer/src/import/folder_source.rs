//! A folder of this host as a source.
//!
//! Nothing is opened through a link: every folder and file is opened by its last name, relative to
//! the open folder that it was seen in. Entries come in the order of their inode numbers, which is
//! about the order on the disk.
//!
//! Where `.git` is a file that leads out of the source, a folder takes its place: see
//! [`gitfile`](super::gitfile).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, lstat};
use pyro_wire::sparse::{self, Part};

use super::error::ImportError;
use super::file_identity::nanoseconds;
use super::filter::Filter;
use super::gitfile::{self, Outside, Pointer, Portion};
use super::guest_index::GuestIndex;
use super::ignore_rules::{Around, FolderRules, Verdict, verdict};
use super::notes::Notes;
use super::pass::{Packed, report};
use super::patterns::DOT_GIT;
use super::small_files::{read, read_in};
use crate::archive::{ArchiveWriter, Member, MemberKind};
use crate::host_paths::AllowedFolders;
use crate::mode::kept;
use crate::names::{MAX_PATH, escaped, stays_inside};
use crate::progress::{MAX_ENTRIES, OnProgress, Totals};

/// How much of a file is read at once.
const BUFFER: usize = 256 * 1024;

/// How many entries are visited, and bytes sent, between two reports.
const REPORT_EVERY: u64 = 256;
const REPORT_EVERY_BYTES: u64 = 4 * 1024 * 1024;

/// A folder, what of it is wanted, and how far from it repositories may be.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    /// With links resolved.
    pub(super) root: &'a Path,
    pub(super) filter: &'a Filter,
    pub(super) allowed: &'a AllowedFolders,
}

pub(super) fn survey(
    reading: Reading<'_>,
    notes: &mut Notes,
    on_progress: &mut OnProgress<'_>,
) -> Result<Totals, ImportError> {
    let mut totals = Totals::default();
    let mut names = FileNames::default();
    walk(reading, Some(notes), &mut |found| {
        let mut member = found.member.clone();
        names.link_if_seen(&mut member, &found);
        totals.add(&member);
        if totals.entries % REPORT_EVERY == 0 {
            report(on_progress, totals)?;
        }
        Ok(())
    })?;
    report(on_progress, totals)?;
    Ok(totals)
}

pub(super) fn pack<W: Write>(
    reading: Reading<'_>,
    index: Option<&GuestIndex>,
    to: &mut ArchiveWriter<W>,
    on_progress: &mut OnProgress<'_>,
) -> Result<Packed, ImportError> {
    let mut packed = Packed::default();
    // A file is sent as a link to another name only when that name was sent as well, so the whole
    // source and what is sent of it have first names of their own.
    let mut names = FileNames::default();
    let mut sent_names = FileNames::default();
    let mut buffer = vec![0; BUFFER];
    walk(reading, None, &mut |found| {
        let same = index.is_some_and(|index| index.has(&found.member, changed_ns(&found.stat)));
        let mut member = found.member.clone();
        names.link_if_seen(&mut member, &found);
        packed.whole.add(&member);
        let own = index.and_then(|index| index.repository_of(&found.member.name));
        if let (false, Some(own)) = (same, own) {
            packed.left_alone(own);
        } else if !same {
            let mut member = found.member.clone();
            sent_names.link_if_seen(&mut member, &found);
            let mut passed = packed.whole;
            passed.bytes -= member.size.min(passed.bytes);
            send(&found, &member, to, &mut buffer, &mut |sent| {
                let bytes = passed.bytes + sent;
                report(on_progress, Totals { bytes, ..passed })
            })?;
            packed.changed.add(&member);
        }
        if packed.whole.entries % REPORT_EVERY == 0 {
            report(on_progress, packed.whole)?;
        }
        Ok(())
    })?;
    report(on_progress, packed.whole)?;
    Ok(packed)
}

/// The first name of each file that has several.
#[derive(Default)]
struct FileNames(HashMap<(u64, u64), Vec<u8>>);

impl FileNames {
    /// Turns a file that came by under another name into a link to that.
    fn link_if_seen(&mut self, member: &mut Member, found: &Found<'_>) {
        let stat = &found.stat;
        if member.kind != MemberKind::File || stat.st_nlink < 2 || found.content.is_some() {
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
    sent: &mut dyn FnMut(u64) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let stream = |source| ImportError::Stream { source };
    if member.kind != MemberKind::File {
        return to.member(member).map_err(stream);
    }
    if let Some(content) = found.content {
        to.member(member).map_err(stream)?;
        return to.data(content).map_err(stream);
    }
    let reading = ImportError::reading;
    let unreadable = |source| ImportError::unreadable(&member.name, source);
    // Should the name now be a FIFO, opening it must not wait for a writer.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = fcntl::openat(found.folder, found.name, flags, Mode::empty())
        .map_err(reading(&member.name))?;
    let before = fstat(&file).map_err(reading(&member.name))?;
    if !is_same(&before, &found.stat) {
        return Err(ImportError::changed(&member.name));
    }
    let file = File::from(file);
    let parts = sparse::parts_of(&file, member.size, before.st_blocks).map_err(unreadable)?;
    match &parts {
        Some(parts) => to.sparse(member, parts),
        None => to.member(member),
    }
    .map_err(stream)?;
    let whole = [Part {
        offset: 0,
        length: member.size,
    }];
    for part in parts.as_deref().unwrap_or(&whole) {
        let (mut at, end) = (part.offset, part.offset + part.length);
        while at < end {
            let most = usize::try_from(end - at).map_or(buffer.len(), |n| n.min(buffer.len()));
            match file.read_at(&mut buffer[..most], at) {
                Ok(0) => return Err(ImportError::changed(&member.name)),
                Ok(count) => {
                    to.data(&buffer[..count]).map_err(stream)?;
                    let now = at + count as u64;
                    if at / REPORT_EVERY_BYTES != now / REPORT_EVERY_BYTES {
                        sent(now)?;
                    }
                    at = now;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
    }
    let after = fstat(&file).map_err(reading(&member.name))?;
    if !is_same(&after, &found.stat) {
        return Err(ImportError::changed(&member.name));
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
    /// What it holds, where that is not what the file of this host holds.
    content: Option<&'a [u8]>,
}

type Visit<'a> = dyn FnMut(Found<'_>) -> Result<(), ImportError> + 'a;

/// Visits everything in a folder that is wanted, each folder before what is in it.
fn walk(
    reading: Reading<'_>,
    notes: Option<&mut Notes>,
    visit: &mut Visit<'_>,
) -> Result<(), ImportError> {
    let mut notes = notes;
    let around = match reading.filter.gitignore {
        true => Around::read(reading.root, reading.allowed, notes.as_deref_mut()),
        false => Around::default(),
    };
    let mut walk = Walk {
        reading,
        around,
        notes,
        visit,
        count: 0,
    };
    walk.tree(reading.root, b"", None, &mut HashSet::new())
}

struct Walk<'a, 'n, 'v> {
    reading: Reading<'a>,
    around: Around,
    /// Nobody is told twice.
    notes: Option<&'n mut Notes>,
    visit: &'n mut Visit<'v>,
    count: u64,
}

/// An open folder of which some entries were not visited yet.
struct Level {
    folder: OwnedFd,
    /// The last visited first.
    names: Vec<CString>,
    /// Length of the folder's own path, with a slash.
    prefix: usize,
    rules: FolderRules,
    /// What its `.git` means, when that is a file.
    pointer: Option<Pointer>,
}

impl Walk<'_, '_, '_> {
    /// Visits a tree whose entries have names that begin with `base`: the source, or a portion of a
    /// repository, of which `made` are folders that were visited already.
    fn tree(
        &mut self,
        root: &Path,
        base: &[u8],
        portion: Option<Portion>,
        made: &mut HashSet<Vec<u8>>,
    ) -> Result<(), ImportError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = fcntl::open(root, flags, Mode::empty())
            .map_err(|errno| ImportError::unusable(root)(errno.into()))?;
        let mut path = base.to_vec();
        let mut levels = vec![self.level(folder, &path, portion, false)?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                levels.pop();
                continue;
            };
            path.truncate(level.prefix);
            path.extend_from_slice(name.as_bytes());
            if portion.is_some_and(|portion| !portion.has(&path[base.len()..])) {
                continue;
            }
            let stat = match fstatat(&level.folder, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                // Others work in the repository of a worktree.
                Err(Errno::ENOENT) if portion.is_some() => continue,
                stat => stat.map_err(ImportError::reading(&path))?,
            };
            let is_folder = kind_of(&stat) == SFlag::S_IFDIR;
            let mut only_tracked = false;
            if portion.is_none() {
                let above = levels.iter().map(|level| (&level.rules, level.prefix));
                let asked = &self.reading.filter.patterns;
                match verdict(asked, above, &self.around, &path, is_folder) {
                    Verdict::Filter => {}
                    Verdict::TrackedOnly => only_tracked = true,
                    Verdict::LeftOut => {
                        let level = levels.last().map(|level| level.folder.as_fd());
                        self.leave_out(level, &name, &path, &stat);
                        continue;
                    }
                }
            }
            if is_folder
                && portion.is_none()
                && let Some(level) = levels.last()
                && let (root, folder) = (self.reading.root, level.folder.as_fd())
                && gitfile::is_of_lost_worktree(root, folder, &name, &path)
            {
                continue;
            }
            self.count += 1;
            if self.count > MAX_ENTRIES {
                return Err(ImportError::TooMany { most: MAX_ENTRIES });
            }
            if path.len() > MAX_PATH {
                return Err(ImportError::refused(
                    &path,
                    "has a path longer than Linux allows",
                ));
            }
            let Some(level) = levels.last() else { break };
            let folder = level.folder.as_fd();
            if portion.is_none() && name.as_c_str() == DOT_GIT {
                match &level.pointer {
                    Some(Pointer::Outside(outside)) => {
                        self.repository(outside, folder, stat, &path)?;
                        continue;
                    }
                    Some(Pointer::Broken(why)) => {
                        if let Some(notes) = &mut self.notes {
                            notes.no_git(&path, why);
                        }
                    }
                    Some(Pointer::Inside(_)) | None => {}
                }
            }
            if kind_of(&stat) == SFlag::S_IFSOCK {
                if let Some(notes) = &mut self.notes {
                    notes.socket(&path);
                }
                continue;
            }
            let member = member(folder, &name, &stat, &path)?;
            self.note(&member, &stat, folder, &name);
            if !is_folder || portion.is_none() || made.insert(path.clone()) {
                (self.visit)(Found {
                    folder,
                    name: &name,
                    stat,
                    member,
                    content: None,
                })?;
            }
            if is_folder {
                let flags = flags | OFlag::O_NOFOLLOW;
                let inner = fcntl::openat(folder, name.as_c_str(), flags, Mode::empty())
                    .map_err(ImportError::reading(&path))?;
                path.push(b'/');
                let ignored = only_tracked || level.rules.is_ignored();
                levels.push(self.level(inner, &path, portion, ignored)?);
            }
        }
        Ok(())
    }

    fn level(
        &mut self,
        folder: OwnedFd,
        path: &[u8],
        portion: Option<Portion>,
        ignored: bool,
    ) -> Result<Level, ImportError> {
        let names = names_in(&folder, path)?;
        let mut level = Level {
            folder,
            names,
            prefix: path.len(),
            rules: FolderRules::default(),
            pointer: None,
        };
        if portion.is_some() {
            return Ok(level);
        }
        let has = |wanted: &CStr| level.names.iter().any(|name| name.as_c_str() == wanted);
        if has(DOT_GIT) {
            let name = [path, DOT_GIT.to_bytes()].concat();
            let content = read_in(level.folder.as_fd(), DOT_GIT).ok();
            level.pointer = content.map(|content| {
                let Reading { root, allowed, .. } = self.reading;
                gitfile::pointer(root, &name, &content, allowed)
            });
        }
        level.rules = FolderRules::read(
            level.folder.as_fd(),
            path,
            has,
            self.reading.filter.gitignore,
            ignored,
            level.pointer.as_ref(),
            self.notes.as_deref_mut(),
        )?;
        Ok(level)
    }

    /// Makes a `.git` folder out of a repository that is elsewhere.
    fn repository(
        &mut self,
        outside: &Outside,
        folder: BorrowedFd<'_>,
        stat: FileStat,
        path: &[u8],
    ) -> Result<(), ImportError> {
        let base = [path, b"/"].concat();
        let at = |name: &[u8]| [&base, name].concat();
        (self.visit)(Found {
            folder,
            name: DOT_GIT,
            stat,
            member: Member {
                name: path.to_vec(),
                kind: MemberKind::Folder,
                mode: 0o755,
                mtime_ns: mtime_ns(&stat),
                size: 0,
            },
            content: None,
        })?;
        let stat = lstat(&outside.common.join("config")).unwrap_or(stat);
        (self.visit)(Found {
            folder,
            name: c"config",
            stat,
            member: Member {
                name: at(b"config"),
                kind: MemberKind::File,
                mode: 0o644,
                mtime_ns: mtime_ns(&stat),
                size: outside.config.len() as u64,
            },
            content: Some(&outside.config),
        })?;
        if let Some(notes) = &mut self.notes {
            let (path, common) = (escaped(path), outside.common.display());
            notes.repository(|| {
                format!("`{path}` was copied as a separate repository, from `{common}`")
            });
        }
        let objects = outside.common.join("objects");
        if let Ok(list) = read(&objects.join("info/alternates"))
            && gitfile::borrows(None, &list)
            && let Some(notes) = &mut self.notes
        {
            notes.no_objects(&at(b"objects/info/alternates"));
        }
        let mut made = HashSet::new();
        self.tree(&outside.own, &base, Some(Portion::Own), &mut made)?;
        if outside.common != outside.own {
            self.tree(&outside.common, &base, Some(Portion::Shared), &mut made)?;
        }
        self.tree(&outside.common, &base, Some(Portion::Objects), &mut made)
    }

    fn leave_out(
        &mut self,
        folder: Option<BorrowedFd<'_>>,
        name: &CStr,
        path: &[u8],
        stat: &FileStat,
    ) {
        let Some(notes) = &mut self.notes else { return };
        let mut entries = 1;
        let mut bytes = 0;
        let mut add = |stat: &FileStat| {
            if kind_of(stat) == SFlag::S_IFREG {
                bytes += u64::try_from(stat.st_size).unwrap_or(0);
            }
        };
        add(stat);
        let is_folder = kind_of(stat) == SFlag::S_IFDIR;
        if let Some(folder) = folder.filter(|_| is_folder) {
            entries += each_below(folder, name, &mut add);
        }
        notes.add_left_out(path, is_folder, entries, bytes);
    }

    /// What is worth a word about something that comes along.
    fn note(&mut self, member: &Member, stat: &FileStat, folder: BorrowedFd<'_>, name: &CStr) {
        let Some(notes) = &mut self.notes else { return };
        notes.mode(&member.name, stat.st_mode);
        let path = member.name.as_slice();
        match &member.kind {
            MemberKind::Symlink { target } if !stays_inside(path, target) => {
                notes.link_leaves(path, target);
                if name == DOT_GIT {
                    notes.no_git(path, "it is a link that leads out of the source");
                }
            }
            MemberKind::File if name == c"alternates" => {
                let objects = path.strip_suffix(b"/info/alternates");
                let objects = objects.filter(|objects| objects.ends_with(b"objects"));
                let list = read_in(folder, name).unwrap_or_default();
                if objects.is_some() && gitfile::borrows(objects, &list) {
                    notes.no_objects(path);
                }
            }
            _ => {}
        }
    }
}

/// Counts all that is below a folder, as far as it can be read.
fn each_below(folder: BorrowedFd<'_>, name: &CStr, each: &mut impl FnMut(&FileStat)) -> u64 {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = |folder: BorrowedFd<'_>, name: &CStr| {
        let folder = fcntl::openat(folder, name, flags, Mode::empty()).ok()?;
        let names = names_in(&folder, b"").ok()?;
        Some((folder, names))
    };
    let mut count = 0;
    let mut levels: Vec<_> = open(folder, name).into_iter().collect();
    while let Some((folder, names)) = levels.last_mut() {
        let Some(name) = names.pop().filter(|_| count < MAX_ENTRIES) else {
            levels.pop();
            continue;
        };
        let stat = fstatat(&*folder, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        let Ok(stat) = stat else { continue };
        count += 1;
        each(&stat);
        if kind_of(&stat) == SFlag::S_IFDIR {
            let inner = open(folder.as_fd(), &name);
            levels.extend(inner);
        }
    }
    count
}

/// The names in an open folder, the first on the disk last.
fn names_in(folder: &OwnedFd, path: &[u8]) -> Result<Vec<CString>, ImportError> {
    let reading = || ImportError::reading(path);
    // The reader of names takes a descriptor of its own.
    let own = folder
        .try_clone()
        .map_err(|source| ImportError::unreadable(path, source))?;
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
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn member(
    folder: BorrowedFd<'_>,
    name: &CStr,
    stat: &FileStat,
    path: &[u8],
) -> Result<Member, ImportError> {
    let refused = |why| Err(ImportError::refused(path, why));
    let kind = match kind_of(stat) {
        SFlag::S_IFREG => MemberKind::File,
        SFlag::S_IFDIR => MemberKind::Folder,
        SFlag::S_IFLNK => {
            let target = fcntl::readlinkat(folder, name)
                .map_err(ImportError::reading(path))?
                .into_vec();
            MemberKind::Symlink { target }
        }
        SFlag::S_IFIFO => return refused("is a FIFO"),
        _ => return refused("is a device"),
    };
    let size = match kind {
        MemberKind::File => u64::try_from(stat.st_size).unwrap_or(0),
        _ => 0,
    };
    Ok(Member {
        name: path.to_vec(),
        kind,
        mode: kept(stat.st_mode),
        mtime_ns: mtime_ns(stat),
        size,
    })
}

fn mtime_ns(stat: &FileStat) -> i64 {
    nanoseconds(stat.st_mtime, stat.st_mtime_nsec)
}

/// When its content, name or mode last changed, which nobody can set.
fn changed_ns(stat: &FileStat) -> i64 {
    nanoseconds(stat.st_ctime, stat.st_ctime_nsec)
}
