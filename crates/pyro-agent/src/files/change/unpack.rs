//! Unpacks an archive aside, into a tree that mirrors the workspace.
//!
//! Folders get their modes and times only where they end up: a folder that nobody may write to
//! could not be filled, and could be moved by root alone.

use std::fs::{self, File};
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, fstat, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, linkat, symlinkat, unlinkat};
use pyro_wire::files::EntryKind;

use crate::files::archive::read::{Archive, Member, MemberKind};
use crate::files::change::cursor::{Cursor, Missing, give};
use crate::files::error::FileError;
use crate::files::hash::{Hasher, KnownHash, KnownHashes};
use crate::files::links::Links;
use crate::files::{display, path, status};

/// What was unpacked.
#[derive(Default)]
pub(crate) struct Unpacked {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// What the archive says of folders. Of two, the later one counts.
    pub(crate) folders: Vec<FolderMeta>,
    pub(crate) hashes: KnownHashes,
}

/// Relative to the workspace.
pub(crate) struct FolderMeta {
    pub(crate) path: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) mtime_ns: i64,
}

struct Unpacker<'a> {
    tree: Cursor,
    /// A second one, for the targets of hard links.
    targets: Cursor,
    destination: Vec<u8>,
    hashing: bool,
    /// What takes a file to where links lead.
    links: Option<&'a Links>,
    /// The modes that a new file does not get by itself.
    masked: u32,
    /// Whose all of it is.
    owner: Option<(Uid, Gid)>,
    done: Unpacked,
}

/// Unpacks an archive whose names are below `destination`.
pub(crate) fn unpack(
    mut archive: Archive<impl BufRead>,
    tree: OwnedFd,
    destination: Vec<u8>,
    hashing: bool,
    links: Option<&Links>,
    masked: u32,
    owner: Option<(Uid, Gid)>,
) -> Result<Unpacked, FileError> {
    let again = tree
        .try_clone()
        .map_err(|source| FileError::at("open", "the folder to unpack into", source))?;
    let mut unpacker = Unpacker {
        tree: Cursor::of(tree, owner),
        targets: Cursor::new(again),
        destination,
        hashing,
        links,
        masked,
        owner,
        done: Unpacked::default(),
    };
    unpacker.tree.enter(&unpacker.destination, Missing::Make)?;
    while let Some(member) = archive.next()? {
        unpacker.unpack(&member, &mut archive)?;
        unpacker.done.entries += 1;
    }
    Ok(unpacker.done)
}

impl Unpacker<'_> {
    fn unpack(
        &mut self,
        member: &Member,
        archive: &mut Archive<impl BufRead>,
    ) -> Result<(), FileError> {
        let name = path::normalize(&member.name)?;
        let path = path::normalize(&path::join(&self.destination, &name))?;
        match member.kind {
            MemberKind::Folder => self.folder(path, member),
            _ if name.is_empty() => Err(FileError::bad_path(
                &path,
                "the archive has something other than a folder there",
            )),
            MemberKind::File => {
                let path = self
                    .links
                    .map_or(Ok(path.clone()), |links| links.follow(&path))?;
                if path.is_empty() {
                    return Err(FileError::conflict(&path, "is a folder"));
                }
                self.file(&path, member, archive)
            }
            MemberKind::Symlink => self.symlink(&path, member),
            MemberKind::HardLink => self.hard_link(&path, member),
        }
    }

    fn folder(&mut self, path: Vec<u8>, member: &Member) -> Result<(), FileError> {
        if !path.is_empty() {
            let (folder, name) = self.tree.enter_parent(&path, Missing::Make)?;
            match mkdirat(folder, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) => give(folder, name, self.owner)
                    .map_err(|error| FileError::io("give away", &path, error))?,
                Err(Errno::EEXIST) => match existing(folder, name, &path)? {
                    EntryKind::Directory => {}
                    _ => return Err(twice(&path)),
                },
                Err(error) => return Err(FileError::io("create", &path, error)),
            }
        }
        self.done.folders.push(FolderMeta {
            path,
            mode: member.mode,
            mtime_ns: member.mtime_ns,
        });
        Ok(())
    }

    fn file(
        &mut self,
        path: &[u8],
        member: &Member,
        archive: &mut Archive<impl BufRead>,
    ) -> Result<(), FileError> {
        let failed = |error: Errno| FileError::io("write", path, error);
        let (folder, name) = self.tree.enter_parent(path, Missing::Make)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(member.mode & 0o777);
        let owner = self.owner;
        let file = File::from(make(folder, name, path, || {
            openat(folder, name, flags, mode)
        })?);
        // Before its mode: a change of owner takes the set-user-ID bit away.
        give(folder, name, owner).map_err(|error| FileError::io("give away", path, error))?;
        let mut hasher = self.hashing.then(Hasher::default);
        let writing = |source: std::io::Error| FileError::io("write", path, source);
        let mut end = 0;
        archive.each_chunk(|at, chunk| {
            if let Some(hasher) = &mut hasher {
                hasher.zeros(at - end);
                hasher.update(chunk);
            }
            end = at + chunk.len() as u64;
            file.write_all_at(chunk, at).map_err(writing)
        })?;
        if end < member.size {
            file.set_len(member.size).map_err(writing)?;
            if let Some(hasher) = &mut hasher {
                hasher.zeros(member.size - end);
            }
        }
        if member.mode & (self.masked | !0o777) != 0 {
            fchmod(&file, Mode::from_bits_truncate(member.mode)).map_err(failed)?;
        }
        futimens(&file, &TimeSpec::UTIME_OMIT, &time(member.mtime_ns)).map_err(failed)?;
        self.done.bytes += member.size;
        if let Some(hasher) = hasher {
            let status = fstat(&file).map_err(failed)?;
            let known = KnownHash {
                size: status::size(&status),
                mtime_ns: status::mtime_ns(&status),
                hash: hasher.finish(),
            };
            self.done.hashes.insert(status.st_ino, known);
        }
        Ok(())
    }

    fn symlink(&mut self, path: &[u8], member: &Member) -> Result<(), FileError> {
        let owner = self.owner;
        let (folder, name) = self.tree.enter_parent(path, Missing::Make)?;
        make(folder, name, path, || {
            symlinkat(member.link.as_slice(), folder, name)
        })?;
        give(folder, name, owner).map_err(|error| FileError::io("give away", path, error))?;
        utimensat(
            folder,
            name,
            &TimeSpec::UTIME_OMIT,
            &time(member.mtime_ns),
            UtimensatFlags::NoFollowSymlink,
        )
        .map_err(|error| FileError::io("set the time of", path, error))
    }

    /// The target must be a file of the same archive: what is in the workspace may be anybody's.
    fn hard_link(&mut self, path: &[u8], member: &Member) -> Result<(), FileError> {
        let target = path::join(&self.destination, &path::normalize(&member.link)?);
        let missing = || {
            let target = display::path(&target);
            FileError::bad_path(
                path,
                format!("it is a hard link to {target}, which is not a file of the archive"),
            )
        };
        let (target_folder, target_name) = self
            .targets
            .enter_parent(&target, Missing::Fail)
            .map_err(|_| missing())?;
        match status::find(target_folder, target_name) {
            Ok(Some(status)) if status::kind_of(&status) == EntryKind::File => {}
            _ => return Err(missing()),
        }
        if target == path {
            return Err(twice(path));
        }
        let (folder, name) = self.tree.enter_parent(path, Missing::Make)?;
        make(folder, name, path, || {
            linkat(target_folder, target_name, folder, name, AtFlags::empty())
        })
    }
}

/// Makes something. An archive may hold a name twice, and then the later one counts.
fn make<T>(
    folder: BorrowedFd,
    name: &[u8],
    path: &[u8],
    mut make: impl FnMut() -> nix::Result<T>,
) -> Result<T, FileError> {
    let failed = |error| FileError::io("create", path, error);
    match make() {
        Err(Errno::EEXIST) => {}
        made => return made.map_err(failed),
    }
    if existing(folder, name, path)? == EntryKind::Directory {
        return Err(twice(path));
    }
    unlinkat(folder, name, UnlinkatFlags::NoRemoveDir).map_err(failed)?;
    make().map_err(failed)
}

fn existing(folder: impl AsFd, name: &[u8], path: &[u8]) -> Result<EntryKind, FileError> {
    status::lstat(folder, name)
        .map(|status| status::kind_of(&status))
        .map_err(|error| FileError::io("access", path, error))
}

fn twice(path: &[u8]) -> FileError {
    FileError::conflict(path, "is in the archive twice, as different kinds of file")
}

pub(crate) fn time(nanoseconds: i64) -> TimeSpec {
    let (seconds, rest) = status::seconds(nanoseconds);
    TimeSpec::new(seconds, rest)
}

/// Every mode is set by hand.
const ALL_MASKED: u32 = 0o777;

/// The agent's mask for modes. Asking for it with `umask` would change it for a moment, for
/// commands that start meanwhile too.
pub(crate) fn umask() -> u32 {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(ALL_MASKED)
}
