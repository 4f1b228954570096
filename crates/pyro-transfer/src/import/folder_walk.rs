//! Goes through a folder of this host, and through the repositories elsewhere that it needs.
//!
//! Nothing is opened through a link: every folder and file is opened by its last name, relative to
//! the open folder that it was seen in. Entries come in the order of their inode numbers, which is
//! about the order on the disk.
//!
//! Where `.git` is a file that leads out of the source, a folder takes its place: see
//! [`gitfile`](super::gitfile).

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, lstat};

use super::error::ImportError;
use super::filter::Filter;
use super::folder_entries::{each_below, kind_of, member, mtime_ns, names_in};
use super::gitfile::{self, Outside, Pointer, Portion};
use super::ignore_rules::{Around, FolderRules, Verdict, verdict};
use super::notes::Notes;
use super::patterns::DOT_GIT;
use super::small_files::{read, read_in};
use crate::archive::{Member, MemberKind};
use crate::host_paths::AllowedFolders;
use crate::names::{MAX_PATH, escaped, stays_inside};
use crate::progress::MAX_ENTRIES;

/// A folder, what of it is wanted, and how far from it repositories may be.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    /// With links resolved.
    pub(super) root: &'a Path,
    pub(super) filter: &'a Filter,
    pub(super) allowed: &'a AllowedFolders,
}

/// An entry, while the folder it is in is open.
pub(super) struct Found<'a> {
    pub(super) folder: BorrowedFd<'a>,
    /// Its last name.
    pub(super) name: &'a CStr,
    pub(super) stat: FileStat,
    pub(super) member: Member,
    /// What it holds, where that is not what the file of this host holds.
    pub(super) content: Option<&'a [u8]>,
}

pub(super) type Visit<'a> = dyn FnMut(Found<'_>) -> Result<(), ImportError> + 'a;

/// Visits everything in a folder that is wanted, each folder before what is in it.
pub(super) fn walk(
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
