//! Compares what was unpacked with what is there, and says step by step what to do, or what is
//! in the way.

use std::collections::{BTreeMap, BTreeSet};

use std::fs::File;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmodat, fstat};
use nix::unistd::{Gid, Uid};
use pyro_wire::files::{Change, EntryKind};

use crate::files::attributes;
use crate::files::change::apply::Trees;
use crate::files::change::cursor::{Cursor, Missing, give, open_file};
use crate::files::change::journal::Step;
use crate::files::change::unpack::FolderMeta;
use crate::files::error::FileError;
use crate::files::{folder, path, status};

pub(crate) struct Planner<'a> {
    /// What was unpacked, and the workspace.
    pub(crate) new: &'a mut Cursor,
    pub(crate) workspace: &'a mut Cursor,
    /// Where what is written over is kept, by number.
    old: BorrowedFd<'a>,
    keep_modes: bool,
    edit: bool,
    removed: BTreeSet<Vec<u8>>,
    /// Folders that something is done to or in, with their mode and time.
    touched: BTreeMap<Vec<u8>, (u32, i64)>,
    steps: Vec<Step>,
    buffer: Vec<u8>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(trees: &'a mut Trees, request: &Change) -> Self {
        Self {
            new: &mut trees.new,
            workspace: &mut trees.workspace,
            old: trees.old.root(),
            keep_modes: request.keep_modes,
            edit: request.edit,
            removed: BTreeSet::new(),
            touched: BTreeMap::new(),
            steps: Vec::new(),
            buffer: vec![0; folder::BUFFER],
        }
    }

    /// All steps of a change, and how many of them remove something.
    pub(crate) fn plan(
        mut self,
        remove: &[Vec<u8>],
        folders: &[FolderMeta],
    ) -> Result<(Vec<Step>, u64), FileError> {
        self.removed = remove.iter().cloned().collect();
        // Backwards, so that a folder comes after what is in it.
        for path in self.removed.clone().iter().rev() {
            self.remove(path)?;
        }
        let removed = self.steps.len() as u64;
        self.merge(b"")?;
        for folder in folders {
            // Most of them are new, and what becomes of them is nobody's loss.
            if self.stays(&folder.path)? {
                self.touch(&folder.path)?;
            }
        }
        let touched = self.touched.into_iter();
        let mut steps: Vec<Step> = touched
            .map(|(path, (mode, mtime_ns))| Step::Touch {
                path: path.into(),
                mode,
                mtime_ns,
            })
            .collect();
        steps.append(&mut self.steps);
        Ok((steps, removed))
    }

    fn remove(&mut self, path: &[u8]) -> Result<(), FileError> {
        if path.is_empty() {
            return Err(FileError::bad_path(
                path,
                "it is the workspace itself and cannot be removed",
            ));
        }
        let Some(status) = self.workspace.find(path)? else {
            return Err(FileError::not_found(path));
        };
        self.touch_parent(path)?;
        let is_folder = status::kind_of(&status) == EntryKind::Directory;
        if is_folder {
            self.touch(path)?;
        }
        let number = self.steps.len() as u64;
        let path = path.to_vec().into();
        self.steps.push(match is_folder {
            true => Step::RemoveFolder { path },
            false => Step::Remove { path, number },
        });
        Ok(())
    }

    /// Plans for what was unpacked into a folder that the workspace has too. This calls itself no
    /// deeper than paths may be.
    fn merge(&mut self, folder: &[u8]) -> Result<(), FileError> {
        let failed = |error| FileError::io("read", folder, error);
        let here = self.new.enter(folder, Missing::Fail)?;
        let names = folder::open(here, b".")
            .and_then(|here| folder::names(here, &mut self.buffer))
            .map_err(failed)?;
        let mut names: Vec<Vec<u8>> = names.into_iter().map(|name| name.bytes).collect();
        names.sort_unstable();
        for name in names {
            self.plan_for(path::join(folder, &name))?;
        }
        Ok(())
    }

    fn plan_for(&mut self, path: Vec<u8>) -> Result<(), FileError> {
        let (folder, name) = self.new.enter_parent(&path, Missing::Fail)?;
        let new =
            status::lstat(folder, name).map_err(|error| FileError::io("access", &path, error))?;
        let old = match self.removed.contains(&path) {
            true => None,
            false => self.workspace.find(&path)?,
        };
        let Some(old) = old else {
            self.touch_parent(&path)?;
            let inode = new.st_ino;
            let path = path.into();
            self.steps.push(Step::Move { path, inode });
            return Ok(());
        };
        match (status::kind_of(&new), status::kind_of(&old)) {
            (EntryKind::Directory, EntryKind::Directory) => return self.merge(&path),
            (EntryKind::File, EntryKind::File) => {
                if self.edit {
                    return self.rewrite(path, &new, &old);
                }
                keep_owner(folder, name, &new, &old)
                    .map_err(|error| FileError::io("keep the owner of", &path, error))?;
                if self.keep_modes && status::permissions(&old) != status::permissions(&new) {
                    let mode = Mode::from_bits_truncate(status::permissions(&old));
                    fchmodat(folder, name, mode, FchmodatFlags::FollowSymlink)
                        .map_err(|error| FileError::io("set the mode of", &path, error))?;
                }
            }
            (EntryKind::Symlink, EntryKind::Symlink) => {}
            (EntryKind::Directory, EntryKind::Symlink) => {
                return Err(FileError::bad_path(
                    &path,
                    "it is a symbolic link, and files are not written through links",
                ));
            }
            (new, old) => return Err(FileError::conflict(&path, in_the_way(new, old))),
        }
        self.touch_parent(&path)?;
        let number = self.steps.len() as u64;
        self.steps.push(Step::Replace {
            path: path.into(),
            inode: new.st_ino,
            number,
        });
        Ok(())
    }

    /// Plans for a file that gets another content and stays what it is. One with a single name is
    /// replaced, by a file that was given all that belongs to this one; see the module.
    fn rewrite(&mut self, path: Vec<u8>, new: &FileStat, old: &FileStat) -> Result<(), FileError> {
        let failed = |error| FileError::io("read", &path, error);
        let (folder, name) = self.workspace.enter_parent(&path, Missing::Fail)?;
        let was = open_file(folder, name, OFlag::O_RDONLY).map_err(failed)?;
        let found = fstat(&was).map_err(failed)?;
        if status::stamp(&found) != status::stamp(old) {
            return Err(FileError::changed(&path));
        }
        let (folder, name) = self.new.enter_parent(&path, Missing::Fail)?;
        let becomes = open_file(folder, name, OFlag::O_RDONLY).map_err(failed)?;
        let mode = status::permissions(if self.keep_modes { old } else { new });
        attributes::copy(&was, &becomes, mode)
            .map_err(|error| FileError::io("keep what belongs to", &path, error))?;
        let number = self.steps.len() as u64;
        if old.st_nlink <= 1 {
            self.touch_parent(&path)?;
            self.steps.push(Step::Replace {
                path: path.into(),
                inode: new.st_ino,
                number,
            });
            return Ok(());
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let owner_only = Mode::from_bits_truncate(0o600);
        openat(self.old, number.to_string().as_str(), flags, owner_only)
            .map_err(std::io::Error::from)
            .and_then(|kept| attributes::overwrite(&was, &File::from(kept)))
            .map_err(|source| FileError::io("put aside", &path, source))?;
        self.steps.push(Step::Overwrite {
            path: path.into(),
            inode: old.st_ino,
            ctime_ns: status::stamp(old).ctime_ns,
            number,
        });
        Ok(())
    }

    /// Whether the workspace has this folder, before and afterwards.
    fn stays(&mut self, path: &[u8]) -> Result<bool, FileError> {
        let mut around = path;
        while !around.is_empty() {
            if self.removed.contains(around) {
                return Ok(false);
            }
            around = path::split(around).0;
        }
        Ok(path.is_empty() || self.workspace.find(path)?.is_some())
    }

    fn touch_parent(&mut self, path: &[u8]) -> Result<(), FileError> {
        self.touch(path::split(path).0)
    }

    /// Remembers what a folder is like, for the case that it must be so again.
    fn touch(&mut self, folder: &[u8]) -> Result<(), FileError> {
        if self.touched.contains_key(folder) {
            return Ok(());
        }
        let here = self.workspace.enter(folder, Missing::Fail)?;
        let status =
            nix::sys::stat::fstat(here).map_err(|error| FileError::io("access", folder, error))?;
        let known = (status::permissions(&status), status::mtime_ns(&status));
        self.touched.insert(folder.to_vec(), known);
        Ok(())
    }
}

/// Gives a file to whose the one was that it takes the place of. An ordinary user of the host cannot,
/// and has only files of its own.
fn keep_owner(folder: BorrowedFd, name: &[u8], new: &FileStat, old: &FileStat) -> nix::Result<()> {
    if (new.st_uid, new.st_gid) == (old.st_uid, old.st_gid) {
        return Ok(());
    }
    let owner = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
    match give(folder, name, Some(owner)) {
        Err(Errno::EPERM) => return Ok(()),
        given => given?,
    }
    // A change of owner takes set-user-ID away.
    let mode = Mode::from_bits_truncate(status::permissions(new));
    fchmodat(folder, name, mode, FchmodatFlags::FollowSymlink)
}

fn in_the_way(new: EntryKind, old: EntryKind) -> &'static str {
    match (new, old) {
        (_, EntryKind::Directory) => "is a folder and cannot be replaced with something else",
        (EntryKind::Directory, _) => "is not a folder and cannot be replaced with one",
        (_, EntryKind::Symlink) => "is a symbolic link and cannot be replaced with a file",
        (_, EntryKind::File) => "is a file and cannot be replaced with a symbolic link",
        (_, EntryKind::Special) => "is a FIFO, a socket or a device, which cannot be replaced",
    }
}
