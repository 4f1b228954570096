//! Walks over everything below a folder, in a fixed order, without following links and without
//! holding more in memory than the names of the folders on the way.

use std::cmp::Ordering;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::vec;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat};
use pyro_wire::files::EntryKind;

use crate::files::error::FileError;
use crate::files::path::DEPTH;
use crate::files::{folder, path, status};

/// How many paths of what a walk left out are given.
pub(crate) const SKIPPED: usize = 1000;

/// In which order the walk comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Each folder sorted by its names, with what is in a folder right after it.
    Tree,
    /// All paths sorted by their bytes: `a`, `a-b`, `a/b`.
    Paths,
}

/// Something that the walk came by.
pub(crate) struct Found<'a> {
    /// Relative to where the walk began.
    pub(crate) path: &'a [u8],
    /// The folder that it is in, and its name there.
    pub(crate) folder: BorrowedFd<'a>,
    pub(crate) name: &'a [u8],
    pub(crate) status: FileStat,
    pub(crate) kind: EntryKind,
    /// Whether it is a folder with nothing in it.
    pub(crate) empty: bool,
    /// Why the walk does not go into this folder.
    pub(crate) unreadable: Option<Errno>,
}

impl Found<'_> {
    /// An error when the walk leaves something out.
    pub(crate) fn readable(&self, base: &[u8]) -> Result<(), FileError> {
        match self.unreadable {
            None => Ok(()),
            Some(Errno::ELOOP) => Err(path::too_deep(&path::join(base, self.path))),
            Some(error) => Err(FileError::io("read", &path::join(base, self.path), error)),
        }
    }

    /// Opens it as a regular file; `None` when it is not one any more.
    pub(crate) fn open_file(&self) -> Result<Option<File>, FileError> {
        let flags = OFlag::O_RDONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let failed = |error: Errno| FileError::io("open", self.path, error);
        let file = match openat(self.folder, self.name, flags, Mode::empty()) {
            // What it was has vanished, or something else has its name now.
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO | Errno::ENODEV) => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let status = fstat(&file).map_err(failed)?;
        Ok((status::kind_of(&status) == EntryKind::File).then(|| file.into()))
    }

    /// Where a link points; `None` for everything else.
    pub(crate) fn target(&self) -> nix::Result<Option<Vec<u8>>> {
        match self.kind {
            EntryKind::Symlink => status::target(self.folder, self.name).map(Some),
            _ => Ok(None),
        }
    }
}

pub(crate) struct Walk {
    order: Order,
    levels: Vec<Level>,
    /// The path of what the walk came by last.
    path: Vec<u8>,
    /// A folder that the walk goes into next.
    next: Option<Level>,
    buffer: Box<[u8]>,
}

struct Level {
    folder: OwnedFd,
    items: vec::IntoIter<Item>,
    /// Folders that were looked at, but whose turn to be entered has not come.
    open: Vec<(Vec<u8>, Level)>,
    /// How much of the path leads here, with the slash at its end.
    prefix: usize,
}

/// What a level has to do for a name: to look at it, or to enter the folder of that name.
struct Item {
    name: Vec<u8>,
    enter: bool,
}

impl Walk {
    /// Begins in a folder that is open for reading. The folder itself is not come by.
    pub(crate) fn new(folder: OwnedFd, order: Order) -> nix::Result<Self> {
        let mut buffer = vec![0; folder::BUFFER].into_boxed_slice();
        let first = Level::new(folder, order, &mut buffer)?;
        Ok(Self {
            order,
            levels: vec![first],
            path: Vec::new(),
            next: None,
            buffer,
        })
    }

    /// Goes on to the next. What vanishes meanwhile is passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Found<'_>>, FileError> {
        let (status, unreadable, empty) = loop {
            if let Some(level) = self.next.take() {
                self.enter(level);
            }
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            self.path.truncate(level.prefix);
            let Some(item) = level.items.next() else {
                self.levels.pop();
                continue;
            };
            self.path.extend_from_slice(&item.name);
            if item.enter {
                if let Some(at) = level.open.iter().position(|(name, _)| *name == item.name) {
                    self.next = Some(level.open.swap_remove(at).1);
                }
                continue;
            }
            let status = match status::find(&level.folder, &item.name) {
                Ok(Some(status)) => status,
                Ok(None) => continue,
                Err(error) => return Err(FileError::io("access", &self.path, error)),
            };
            if status::kind_of(&status) != EntryKind::Directory {
                break (status, None, false);
            }
            match self.look_into(item.name) {
                Ok(empty) => break (status, None, empty),
                Err(Errno::ENOENT) => {}
                Err(error) => break (status, Some(error), false),
            }
        };
        let Some(level) = self.levels.last() else {
            return Ok(None);
        };
        Ok(Some(Found {
            path: &self.path,
            folder: level.folder.as_fd(),
            name: &self.path[level.prefix..],
            kind: status::kind_of(&status),
            status,
            empty,
            unreadable,
        }))
    }

    fn enter(&mut self, mut level: Level) {
        self.path.push(b'/');
        level.prefix = self.path.len();
        self.levels.push(level);
    }

    /// Reads a folder, to be entered when its turn comes; says whether it is empty.
    fn look_into(&mut self, name: Vec<u8>) -> nix::Result<bool> {
        if self.levels.len() >= DEPTH {
            return Err(Errno::ELOOP);
        }
        let Some(level) = self.levels.last_mut() else {
            return Ok(true);
        };
        let folder = folder::open(&level.folder, &name)?;
        let inside = Level::new(folder, self.order, &mut self.buffer)?;
        if inside.items.as_slice().is_empty() {
            return Ok(true);
        }
        match self.order {
            Order::Tree => self.next = Some(inside),
            Order::Paths => level.open.push((name, inside)),
        }
        Ok(false)
    }
}

impl Level {
    fn new(folder: OwnedFd, order: Order, buffer: &mut [u8]) -> nix::Result<Self> {
        let names = folder::names(&folder, buffer)?;
        let mut items = Vec::with_capacity(names.len());
        for name in names {
            if order == Order::Paths && name.maybe_folder {
                items.push(Item {
                    name: name.bytes.clone(),
                    enter: true,
                });
            }
            items.push(Item {
                name: name.bytes,
                enter: false,
            });
        }
        items.sort_unstable_by(Item::compare);
        Ok(Self {
            folder,
            items: items.into_iter(),
            open: Vec::new(),
            prefix: 0,
        })
    }
}

impl Item {
    /// A folder is entered where a path into it belongs: where its name would be with a slash.
    fn compare(&self, other: &Self) -> Ordering {
        let shorter = self.name.len().min(other.name.len());
        let beyond = |item: &Self| match item.name.get(shorter) {
            Some(byte) => Some(*byte),
            None => item.enter.then_some(b'/'),
        };
        self.name[..shorter]
            .cmp(&other.name[..shorter])
            .then_with(|| beyond(self).cmp(&beyond(other)))
            .then_with(|| self.name.len().cmp(&other.name.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;
    use crate::files::layout::open_folder;

    fn walk(folder: &Path, order: Order) -> Vec<String> {
        let mut walk = Walk::new(open_folder(folder).unwrap(), order).unwrap();
        let mut paths = Vec::new();
        while let Some(found) = walk.next().unwrap() {
            assert!(found.unreadable.is_none());
            let mut path = String::from_utf8_lossy(found.path).into_owned();
            if found.empty {
                path.push_str(" (empty)");
            }
            paths.push(path);
        }
        paths
    }

    #[test]
    fn both_orders_are_what_they_say() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for path in ["a/b", "a-b/c", "a-b-c/d", "a-/e", "a!/x"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in ["a/b/f", "a.txt", "a/0", "a-/z", "Z"] {
            fs::write(at(path), "").unwrap();
        }
        std::os::unix::fs::symlink("a", at("a/link")).unwrap();

        let tree = walk(folder.path(), Order::Tree);
        assert_eq!(
            tree,
            [
                "Z",
                "a",
                "a/0",
                "a/b",
                "a/b/f",
                "a/link",
                "a!",
                "a!/x (empty)",
                "a-",
                "a-/e (empty)",
                "a-/z",
                "a-b",
                "a-b/c (empty)",
                "a-b-c",
                "a-b-c/d (empty)",
                "a.txt"
            ]
        );
        let paths = walk(folder.path(), Order::Paths);
        let mut sorted = tree.clone();
        sorted.sort_unstable();
        assert_eq!(paths, sorted);
    }

    #[test]
    fn odd_names_come_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let names: [&[u8]; 4] = [b"\n", b"\xff\xfe", b"'\"", &[b'x'; 255]];
        for name in names {
            fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
        }
        let mut walk = Walk::new(open_folder(folder.path()).unwrap(), Order::Tree).unwrap();
        let mut found = Vec::new();
        while let Some(next) = walk.next().unwrap() {
            found.push(next.path.to_vec());
        }
        let mut expected: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_folder_that_is_too_deep_is_not_entered() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("d/".repeat(DEPTH + 3))).unwrap();
        for order in [Order::Tree, Order::Paths] {
            let mut walk = Walk::new(open_folder(folder.path()).unwrap(), order).unwrap();
            let mut unreadable = 0;
            while let Some(found) = walk.next().unwrap() {
                unreadable += usize::from(found.readable(b"").is_err());
            }
            assert_eq!(unreadable, 1);
        }
    }
}
