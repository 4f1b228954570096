//! Does the steps of a change, and undoes them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, renameat, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, fstat, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use crate::files::change::cursor::{Cursor, Missing, open_file};
use crate::files::change::journal::Step;
use crate::files::change::staging::StagingArea;
use crate::files::change::unpack::{FolderMeta, time};
use crate::files::error::FileError;
use crate::files::layout::{Disk, Layout};
use crate::files::{attributes, status};

/// The three trees that steps move things between.
pub(crate) struct Trees {
    pub(crate) workspace: Cursor,
    pub(crate) new: Cursor,
    pub(crate) old: Cursor,
    /// The numbers of the files that were written into. Others may be written by somebody else,
    /// who is not to lose that when the change is undone.
    written: BTreeSet<u64>,
    system: System,
    /// Whether an inode still has the number that it had when the steps were written down.
    same_inodes: bool,
}

/// What the system under the trees can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    /// Exchanges two names in one instant, and keeps the numbers of inodes for ever.
    Linux,
    /// Puts a name in the place of another in one instant, but exchanges none. The numbers of inodes are
    /// made up anew in each sandbox. So it is outside of one as well: what is broken off there may
    /// have to be undone in it, and the other way round.
    Gvisor,
}

impl Trees {
    pub(crate) fn open(area: &StagingArea, layout: &Layout) -> Result<Self, FileError> {
        Ok(Self {
            workspace: Cursor::new(layout.make_workspace()?),
            new: Cursor::new(area.new_tree()?),
            old: Cursor::new(area.old_files()?),
            written: BTreeSet::new(),
            system: match layout.disk() {
                Disk::Ours | Disk::Shared => System::Linux,
                Disk::Behind | Disk::Outside => System::Gvisor,
            },
            same_inodes: true,
        })
    }

    /// The same after a crash, when nobody knows any more how far these steps have come.
    pub(crate) fn leftover(
        area: &StagingArea,
        layout: &Layout,
        steps: &[Step],
    ) -> Result<Self, FileError> {
        let mut trees = Self::open(area, layout)?;
        trees.same_inodes = trees.system == System::Linux;
        trees.written = steps
            .iter()
            .filter_map(|step| match step {
                Step::Overwrite { number, .. } => Some(*number),
                _ => None,
            })
            .collect();
        Ok(trees)
    }

    /// Does a step, or fails without having done it.
    pub(crate) fn apply(&mut self, step: &Step) -> Result<(), FileError> {
        match step {
            Step::Touch { .. } => Ok(()),
            Step::Remove { path, number } => {
                let (folder, name) = self.workspace.enter_parent(path, Missing::Fail)?;
                let number = number.to_string();
                move_to_free(folder, name, self.old.root(), number.as_bytes())
                    .map_err(|error| not_moved("remove", path, error))
            }
            Step::RemoveFolder { path } => {
                let (folder, name) = self.workspace.enter_parent(path, Missing::Fail)?;
                unlinkat(folder, name, UnlinkatFlags::RemoveDir)
                    .map_err(|error| not_moved("remove", path, error))?;
                self.workspace.forget();
                Ok(())
            }
            Step::Move { path, .. } => {
                let (from, name) = self.new.enter_parent(path, Missing::Fail)?;
                let (to, _) = self.workspace.enter_parent(path, Missing::Fail)?;
                move_to_free(from, name, to, name)
                    .map_err(|error| not_moved("move into place", path, error))?;
                self.new.forget();
                Ok(())
            }
            Step::Replace { path, number, .. } => match self.system {
                System::Linux => self.exchange(path),
                System::Gvisor => self.supplant(path, *number),
            },
            Step::Overwrite {
                path,
                inode,
                ctime_ns,
                number,
            } => {
                let (from, name) = self.new.enter_parent(path, Missing::Fail)?;
                let new = open_file(from, name, OFlag::O_RDONLY)
                    .map_err(|error| not_moved("read", path, error))?;
                let Some(file) = self.open_unchanged(path, *inode, *ctime_ns)? else {
                    return Err(FileError::changed(path));
                };
                self.written.insert(*number);
                attributes::overwrite(&new, &file)
                    .map_err(|source| FileError::io("write", path, source))
            }
        }
    }

    /// The file at a path, if it is this inode and nobody has changed it since.
    fn open_unchanged(
        &mut self,
        path: &[u8],
        inode: u64,
        ctime_ns: i64,
    ) -> Result<Option<File>, FileError> {
        let (folder, name) = self.workspace.enter_parent(path, Missing::Fail)?;
        let file = open_file(folder, name, OFlag::O_WRONLY)
            .map_err(|error| not_moved("write", path, error))?;
        let about = fstat(&file).map_err(|error| not_moved("access", path, error))?;
        let same = about.st_ino == inode && status::stamp(&about).ctime_ns == ctime_ns;
        Ok(same.then_some(file))
    }

    fn exchange(&mut self, path: &[u8]) -> Result<(), FileError> {
        let (from, name) = self.new.enter_parent(path, Missing::Fail)?;
        let (to, _) = self.workspace.enter_parent(path, Missing::Fail)?;
        let look = |folder| {
            status::lstat(folder, name)
                .map(|status| status::kind_of(&status))
                .map_err(|error| not_moved("access", path, error))
        };
        let new = look(from)?;
        let exchange = || {
            renameat2(from, name, to, name, RenameFlags::RENAME_EXCHANGE)
                .map_err(|error| not_moved("replace", path, error))
        };
        exchange()?;
        // Somebody may have put something else there since it was looked at.
        if look(from)? != new {
            exchange()?;
            return Err(FileError::changed(path));
        }
        Ok(())
    }

    /// Puts what is new in the place of what is there, which gets another name first.
    fn supplant(&mut self, path: &[u8], number: u64) -> Result<(), FileError> {
        let (from, name) = self.new.enter_parent(path, Missing::Fail)?;
        let (to, _) = self.workspace.enter_parent(path, Missing::Fail)?;
        let (old, number) = (self.old.root(), number.to_string());
        let look = |folder, name: &[u8]| {
            status::lstat(folder, name)
                .map(|status| status::kind_of(&status))
                .map_err(|error| not_moved("access", path, error))
        };
        // Somebody may have put something else there since it was looked at.
        let new = look(from, name)?;
        if look(to, name)? != new {
            return Err(FileError::changed(path));
        }
        linkat(to, name, old, number.as_str(), AtFlags::empty())
            .map_err(|error| not_moved("keep", path, error))?;
        let kept = look(old, number.as_bytes())?;
        let supplanted = match kept == new {
            true => {
                renameat(from, name, to, name).map_err(|error| not_moved("replace", path, error))
            }
            false => Err(FileError::changed(path)),
        };
        if supplanted.is_err() {
            let _ = unlinkat(old, number.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        supplanted
    }

    /// Puts what was there back, unless somebody else has put something there since.
    fn reinstate(&mut self, path: &[u8], inode: u64, number: u64) -> Result<(), FileError> {
        let number = number.to_string();
        let failed = |error| not_moved("put back", path, error);
        let kept = status::find(self.old.root(), number.as_bytes()).map_err(failed)?;
        if kept.is_none() || !self.has_arrived(path, inode)? {
            return Ok(());
        }
        let (folder, name) = self.workspace.enter_parent(path, Missing::Fail)?;
        renameat(self.old.root(), number.as_str(), folder, name).map_err(failed)
    }

    /// Whether a step has brought its inode to where it belongs. Where inodes cannot be told apart,
    /// that is so when it is no longer where it was.
    fn has_arrived(&mut self, path: &[u8], inode: u64) -> Result<bool, FileError> {
        match self.same_inodes {
            true => is_at(&mut self.workspace, path, inode),
            false => Ok(self.new.find(path)?.is_none() && self.workspace.find(path)?.is_some()),
        }
    }

    /// Gives folders their modes and times, those inside of others first: afterwards they may not
    /// be entered any more.
    pub(crate) fn set_folder_metadata(
        &mut self,
        folders: &mut [FolderMeta],
    ) -> Result<(), FileError> {
        // Stable, so that the later one of two for the same folder still comes later.
        folders.sort_by(|one, other| other.path.cmp(&one.path));
        for folder in folders {
            set_folder(
                &mut self.workspace,
                &folder.path,
                folder.mode,
                folder.mtime_ns,
            )?;
        }
        Ok(())
    }

    /// Undoes what was done of these steps, and goes on where the system refuses. Says where that
    /// was first. What somebody else has removed, or put there, meanwhile stays as they left it.
    pub(crate) fn undo(&mut self, steps: &[Step]) -> Result<(), FileError> {
        self.workspace.forget();
        self.new.forget();
        let mut first = Ok(());
        for step in steps.iter().rev() {
            match self.undo_one(step) {
                Err(error @ FileError::Io { .. }) if first.is_ok() => first = Err(error),
                _ => {}
            }
        }
        first
    }

    fn undo_one(&mut self, step: &Step) -> Result<(), FileError> {
        match step {
            Step::Touch {
                path,
                mode,
                mtime_ns,
            } => set_folder(&mut self.workspace, path, *mode, *mtime_ns),
            Step::Remove { path, number } => {
                let number = number.to_string();
                let failed = |error| not_moved("put back", path, error);
                if status::find(self.old.root(), number.as_bytes())
                    .map_err(failed)?
                    .is_none()
                {
                    return Ok(());
                }
                let (folder, name) = self.workspace.enter_parent(path, Missing::Fail)?;
                move_to_free(self.old.root(), number.as_bytes(), folder, name).map_err(failed)
            }
            Step::RemoveFolder { path } => {
                let (folder, name) = self.workspace.enter_parent(path, Missing::Fail)?;
                match mkdirat(folder, name, Mode::from_bits_truncate(0o700)) {
                    Ok(()) | Err(Errno::EEXIST) => Ok(()),
                    Err(error) => Err(not_moved("put back", path, error)),
                }
            }
            Step::Move { path, inode } => {
                if !self.has_arrived(path, *inode)? {
                    return Ok(());
                }
                let failed = |error| not_moved("take back", path, error);
                let (to, _) = self.new.enter_parent(path, Missing::Fail)?;
                let (from, name) = self.workspace.enter_parent(path, Missing::Fail)?;
                match move_to_free(from, name, to, name) {
                    // Only root may move a folder that is not writable.
                    Err(Errno::EACCES) => {
                        let mode = Mode::from_bits_truncate(0o700);
                        fchmodat(from, name, mode, FchmodatFlags::FollowSymlink)
                            .and_then(|()| move_to_free(from, name, to, name))
                            .map_err(failed)?;
                    }
                    moved => moved.map_err(failed)?,
                }
                self.workspace.forget();
                Ok(())
            }
            Step::Replace {
                path,
                inode,
                number,
            } => match self.system {
                System::Gvisor => self.reinstate(path, *inode, *number),
                System::Linux if is_at(&mut self.workspace, path, *inode)? => self.exchange(path),
                System::Linux => Ok(()),
            },
            Step::Overwrite {
                path,
                inode,
                ctime_ns,
                number,
            } => {
                let untouched = !self.written.contains(number)
                    || self.same_inodes
                        && (!is_at(&mut self.workspace, path, *inode)?
                            || self.open_unchanged(path, *inode, *ctime_ns)?.is_some());
                if untouched {
                    return Ok(());
                }
                let failed = |error| not_moved("write back", path, error);
                let number = number.to_string();
                let old = open_file(self.old.root(), number.as_bytes(), OFlag::O_RDONLY)
                    .map_err(failed)?;
                let (folder, name) = self.workspace.enter_parent(path, Missing::Fail)?;
                let file = open_file(folder, name, OFlag::O_WRONLY).map_err(failed)?;
                attributes::overwrite(&old, &file)
                    .map_err(|source| FileError::io("write back", path, source))
            }
        }
    }
}

/// Moves something to where nothing is.
fn move_to_free(from: BorrowedFd, name: &[u8], to: BorrowedFd, new_name: &[u8]) -> nix::Result<()> {
    match renameat2(from, name, to, new_name, RenameFlags::RENAME_NOREPLACE) {
        // gVisor cannot do it in one on files that it shares with others. Then two have to be so
        // fast as to come between these two calls.
        Err(Errno::EINVAL) => match status::find(to, new_name)? {
            Some(_) => Err(Errno::EEXIST),
            None => renameat(from, name, to, new_name),
        },
        moved => moved,
    }
}

/// Whether a step has brought its inode to where it belongs.
fn is_at(tree: &mut Cursor, path: &[u8], inode: u64) -> Result<bool, FileError> {
    tree.find(path)
        .map(|found| found.is_some_and(|status| status.st_ino == inode))
}

fn set_folder(tree: &mut Cursor, path: &[u8], mode: u32, mtime_ns: i64) -> Result<(), FileError> {
    let folder = tree.enter(path, Missing::Fail)?;
    let mode = Mode::from_bits_truncate(mode);
    fchmodat(folder, ".", mode, FchmodatFlags::FollowSymlink)
        .and_then(|()| {
            utimensat(
                folder,
                ".",
                &TimeSpec::UTIME_OMIT,
                &time(mtime_ns),
                UtimensatFlags::NoFollowSymlink,
            )
        })
        .map_err(|error| FileError::io("set mode and time of", path, error))
}

fn not_moved(step: &'static str, path: &[u8], error: Errno) -> FileError {
    match error {
        Errno::ENOENT | Errno::EEXIST | Errno::ENOTDIR => FileError::changed(path),
        Errno::ENOTEMPTY => FileError::conflict(path, "cannot be removed, as it is not empty"),
        Errno::EXDEV => FileError::conflict(path, "is on another disk than the workspace"),
        error => FileError::io(step, path, io::Error::from(error)),
    }
}
