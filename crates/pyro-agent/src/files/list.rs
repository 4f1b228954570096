//! Lists a folder, or one file or link as itself.

use std::mem;
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use pyro_wire::files::{Entry, EntryKind, List, ListEvent};

use crate::files::error::FileError;
use crate::files::folder;
use crate::files::inside::open_inside;
use crate::files::layout::Layout;
use crate::files::walk::{Found, Order, Walk};
use crate::files::worker::Replies;
use crate::files::{path, status};

/// About how many bytes of entries go into one message.
const BATCH: usize = 64 * 1024;

/// What an entry takes in a message beside its names.
const ENTRY: usize = 160;

pub(crate) fn list(
    layout: &Layout,
    request: &List,
    replies: &Replies<ListEvent>,
) -> Result<(), FileError> {
    let base = path::normalize(&request.path)?;
    let workspace = layout.open_workspace()?;
    // As anywhere on Linux, a slash behind a link asks for what it leads to.
    let links = layout.links()?;
    let there = match request.path.ends_with(b"/") {
        true => links.follow(&base)?,
        false => links.follow_parent(&base)?,
    };
    let itself = open_inside(
        layout,
        &workspace,
        &there,
        OFlag::O_PATH | OFlag::O_NOFOLLOW,
    )?;
    let about = fstat(&itself).map_err(|error| FileError::io("access", &base, error))?;
    let mut batch = Batch::new(replies);
    if status::kind_of(&about) == EntryKind::Directory {
        let folder =
            folder::open(&itself, b".").map_err(|error| FileError::io("read", &base, error))?;
        if request.recursive {
            list_all(&base, folder, &mut batch)?;
        } else {
            list_one(&base, folder, &mut batch)?;
        }
    } else {
        let target = match status::kind_of(&about) {
            EntryKind::Symlink => Some(
                status::target(&itself, b"")
                    .map_err(|error| FileError::io("read", &base, error))?,
            ),
            _ => None,
        };
        batch.put(Entry {
            path: base.into(),
            meta: status::meta(&about, target, false),
            stamp: status::stamp(&about),
            unreadable: false,
        })?;
    }
    batch.send()?;
    replies.event(ListEvent::End)
}

fn list_all(base: &[u8], folder: OwnedFd, batch: &mut Batch) -> Result<(), FileError> {
    let mut walk =
        Walk::new(folder, Order::Tree).map_err(|error| FileError::io("read", base, error))?;
    while let Some(found) = walk.next()? {
        if let Some(entry) = entry(base, &found)? {
            batch.put(entry)?;
        }
    }
    Ok(())
}

/// Reads each folder in it no further than to know whether it is empty.
fn list_one(base: &[u8], folder: OwnedFd, batch: &mut Batch) -> Result<(), FileError> {
    let mut buffer = vec![0; folder::BUFFER];
    let mut names =
        folder::names(&folder, &mut buffer).map_err(|error| FileError::io("read", base, error))?;
    names.sort_unstable_by(|one, other| one.bytes.cmp(&other.bytes));
    for name in names {
        let path = path::join(base, &name.bytes);
        let failed = |error| FileError::io("access", &path, error);
        let Some(status) = status::find(&folder, &name.bytes).map_err(failed)? else {
            continue;
        };
        let kind = status::kind_of(&status);
        let (mut empty, mut unreadable) = (false, None);
        if kind == EntryKind::Directory {
            match folder::open(&folder, &name.bytes)
                .and_then(|inside| folder::is_empty(inside, &mut buffer))
            {
                Ok(nothing) => empty = nothing,
                Err(error) => unreadable = Some(error),
            }
        }
        let found = Found {
            path: &name.bytes,
            folder: std::os::fd::AsFd::as_fd(&folder),
            name: &name.bytes,
            status,
            kind,
            empty,
            unreadable,
        };
        if let Some(entry) = entry(base, &found)? {
            batch.put(entry)?;
        }
    }
    Ok(())
}

/// `None` when a link has vanished before it was read.
fn entry(base: &[u8], found: &Found) -> Result<Option<Entry>, FileError> {
    let path = path::join(base, found.path);
    let target = match found.target() {
        Ok(target) => target,
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::EINVAL) => return Ok(None),
        Err(error) => return Err(FileError::io("read", &path, error)),
    };
    Ok(Some(Entry {
        path: path.into(),
        meta: status::meta(&found.status, target, found.empty),
        stamp: status::stamp(&found.status),
        unreadable: found.unreadable.is_some(),
    }))
}

/// Collects entries into messages that are no longer than they need to be.
struct Batch<'a> {
    replies: &'a Replies<ListEvent>,
    entries: Vec<Entry>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    fn new(replies: &'a Replies<ListEvent>) -> Self {
        Self {
            replies,
            entries: Vec::new(),
            bytes: 0,
        }
    }

    fn put(&mut self, entry: Entry) -> Result<(), FileError> {
        let target = entry.meta.target.as_ref().map_or(0, |target| target.len());
        self.bytes += ENTRY + entry.path.len() + target;
        self.entries.push(entry);
        if self.bytes >= BATCH {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), FileError> {
        self.bytes = 0;
        match mem::take(&mut self.entries) {
            entries if entries.is_empty() => Ok(()),
            entries => self.replies.event(ListEvent::Entries(entries)),
        }
    }
}
