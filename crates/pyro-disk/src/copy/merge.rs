//! One layer of two that lie on one another: it shows the same, whatever lies below.
//!
//! | above | below | in their place |
//! |---|---|---|
//! | nothing | anything | what is below |
//! | a file, a link, a removal | anything | what is above |
//! | a folder | nothing | that folder |
//! | a folder | a folder | one folder of both, with the owner, rights and times of the upper |
//! | an opaque folder | anything | the upper folder, opaque |
//! | a folder | a file, a link, a removal | the upper folder, opaque: it hid what is further below |
//!
//! A folder of both is opaque where the lower one is.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mknodat};

use super::error::{read, too_deep, write};
use super::walk::{Copier, Place};
use super::{Copied, CopyError};
use crate::folders::{self, DEEPEST};
use crate::xattr;

/// `y`: what is below a folder does not show. `x`: attributes of files in it mean removals.
const OPAQUE: &CStr = c"user.overlay.opaque";
const HIDES: &[u8] = b"y";
const HOLDS_REMOVALS: &[u8] = b"x";

/// On an empty file of such a folder: a removal.
const REMOVAL: &CStr = c"user.overlay.whiteout";

/// That names in a folder have numbers of their own to be looked up.
const IMPURE: &CStr = c"user.overlay.impure";

/// A folder of one layer.
struct Side {
    folder: OwnedFd,
    opaque: Vec<u8>,
}

/// A folder that is being made.
struct Frame {
    upper: Option<Side>,
    lower: Option<Side>,
    to: OwnedFd,
    path: Vec<u8>,
    opaque: bool,
    /// Those in it, the next one last.
    folders: Vec<Below>,
}

/// A folder in both or one of two.
struct Below {
    name: Vec<u8>,
    upper: bool,
    lower: bool,
    /// It lies on something else.
    covers: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    /// As a device, or as an attribute.
    Removal,
    MarkedRemoval,
    Other,
}

pub(super) struct Merger<'a> {
    /// Goes on with the upper layer.
    pub(super) copier: Copier<'a>,
    pub(super) lower: OwnedFd,
}

impl Merger<'_> {
    pub(super) fn run(mut self) -> Result<Copied, CopyError> {
        let upper = self.copier.from.try_clone().map_err(read(b""))?;
        let lower = self.lower.try_clone().map_err(read(b""))?;
        let to = self.copier.to.try_clone().map_err(write(b""))?;
        let mut frames = vec![self.enter(Some(upper), Some(lower), to, Vec::new(), false)?];
        while let Some(frame) = frames.last_mut() {
            let Some(below) = frame.folders.pop() else {
                // Last of all, as all that happens in a folder changes its times.
                self.finish(frame)?;
                frames.pop();
                continue;
            };
            let path =
                folders::join(&frame.path, &below.name).ok_or_else(|| too_deep(&frame.path))?;
            let open = |side: &Option<Side>, is_there: bool| match side {
                Some(side) if is_there => folders::enter(&side.folder, &below.name)
                    .map(Some)
                    .map_err(read(&path)),
                _ => Ok(None),
            };
            let upper = open(&frame.upper, below.upper)?;
            let lower = open(&frame.lower, below.lower)?;
            let to = folders::make(&frame.to, &below.name).map_err(write(&path))?;
            if frames.len() >= DEEPEST {
                return Err(too_deep(&path));
            }
            self.copier.count()?;
            let frame = self.enter(upper, lower, to, path, below.covers)?;
            frames.push(frame);
        }
        Ok(self.copier.done)
    }

    /// Makes all that is in a folder except for the folders.
    fn enter(
        &mut self,
        upper: Option<OwnedFd>,
        lower: Option<OwnedFd>,
        to: OwnedFd,
        path: Vec<u8>,
        covers: bool,
    ) -> Result<Frame, CopyError> {
        let side = |folder: Option<OwnedFd>| folder.map(|folder| Side::of(folder, &path));
        let upper = side(upper).transpose()?;
        let mut lower = side(lower).transpose()?;
        if upper.as_ref().is_some_and(Side::hides) {
            lower = None;
        }
        let opaque = covers || [&upper, &lower].into_iter().flatten().any(Side::hides);
        let mut folders = Vec::new();
        let mut known = HashSet::new();
        let names = upper.as_ref().map(|side| folders::names(&side.folder));
        for (_, name) in names.transpose().map_err(read(&path))?.unwrap_or_default() {
            let Some(upper) = &upper else { break };
            let below = folders::join(&path, &name).ok_or_else(|| too_deep(&path))?;
            let (kind, stat) = upper.look(&name, &below)?;
            if kind == Kind::Folder {
                let under = match &lower {
                    Some(lower) => lower.look_if_there(&name, &below)?,
                    None => None,
                };
                folders.push(Below {
                    name: name.clone(),
                    upper: true,
                    lower: under == Some(Kind::Folder),
                    covers: under.is_some_and(|kind| kind != Kind::Folder),
                });
            } else {
                self.make(kind, &stat, &place(upper, &to, &name, &below))?;
            }
            known.insert(name);
        }
        let names = lower.as_ref().map(|side| folders::names(&side.folder));
        for (_, name) in names.transpose().map_err(read(&path))?.unwrap_or_default() {
            let Some(lower) = &lower else { break };
            if known.contains(&name) {
                continue;
            }
            let below = folders::join(&path, &name).ok_or_else(|| too_deep(&path))?;
            let (kind, stat) = lower.look(&name, &below)?;
            if kind == Kind::Folder {
                folders.push(Below {
                    name,
                    upper: false,
                    lower: true,
                    covers: false,
                });
            } else {
                self.make(kind, &stat, &place(lower, &to, &name, &below))?;
            }
        }
        folders.reverse();
        Ok(Frame {
            upper,
            lower,
            to,
            path,
            opaque,
            folders,
        })
    }

    fn make(&mut self, kind: Kind, stat: &FileStat, place: &Place) -> Result<(), CopyError> {
        if kind != Kind::MarkedRemoval {
            return self.copier.copy(stat, place);
        }
        // As a device it means the same in any folder.
        self.copier.count()?;
        mknodat(place.to, place.name, SFlag::S_IFCHR, Mode::empty(), 0).map_err(write(place.path))
    }

    fn finish(&mut self, frame: &Frame) -> Result<(), CopyError> {
        let path = &frame.path;
        let Some(first) = frame.upper.as_ref().or(frame.lower.as_ref()) else {
            return Ok(());
        };
        let stat = fstat(&first.folder).map_err(read(path))?;
        self.copier.dress(&stat, &first.folder, &frame.to, path)?;
        if frame.opaque {
            xattr::set(&frame.to, OPAQUE, HIDES).map_err(write(path))?;
        } else if first.opaque == HOLDS_REMOVALS {
            xattr::remove(&frame.to, OPAQUE).map_err(write(path))?;
        }
        if let (Some(_), Some(lower)) = (&frame.upper, &frame.lower)
            && let Some(value) = attribute(&lower.folder, IMPURE).map_err(read(path))?
        {
            xattr::set(&frame.to, IMPURE, &value).map_err(write(path))?;
        }
        Ok(())
    }
}

impl Side {
    fn of(folder: OwnedFd, path: &[u8]) -> Result<Self, CopyError> {
        let opaque = attribute(&folder, OPAQUE).map_err(read(path))?;
        Ok(Self {
            folder,
            opaque: opaque.unwrap_or_default(),
        })
    }

    fn hides(&self) -> bool {
        self.opaque == HIDES
    }

    fn look_if_there(&self, name: &[u8], path: &[u8]) -> Result<Option<Kind>, CopyError> {
        match fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(self.kind(&stat, name, path)?)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(read(path)(errno)),
        }
    }

    fn look(&self, name: &[u8], path: &[u8]) -> Result<(Kind, FileStat), CopyError> {
        let stat = fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(read(path))?;
        Ok((self.kind(&stat, name, path)?, stat))
    }

    fn kind(&self, stat: &FileStat, name: &[u8], path: &[u8]) -> Result<Kind, CopyError> {
        Ok(
            match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
                SFlag::S_IFDIR => Kind::Folder,
                SFlag::S_IFCHR if stat.st_rdev == 0 => Kind::Removal,
                SFlag::S_IFREG if stat.st_size == 0 && self.opaque == HOLDS_REMOVALS => {
                    let flags =
                        OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                    let file = fcntl::openat(&self.folder, name, flags, Mode::empty());
                    let file = File::from(file.map_err(read(path))?);
                    match attribute(&file, REMOVAL).map_err(read(path))? {
                        Some(_) => Kind::MarkedRemoval,
                        None => Kind::Other,
                    }
                }
                _ => Kind::Other,
            },
        )
    }
}

fn place<'a>(side: &'a Side, to: &'a OwnedFd, name: &'a [u8], path: &'a [u8]) -> Place<'a> {
    Place {
        from: &side.folder,
        to,
        name,
        path,
    }
}

fn attribute(file: &impl std::os::fd::AsFd, name: &CStr) -> nix::Result<Option<Vec<u8>>> {
    match xattr::get(file, name) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}
