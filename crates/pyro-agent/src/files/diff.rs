//! Compares the workspace with its baseline.
//!
//! Looks at every file, but reads only those that somebody may have written to since: what has
//! the inode, size and times of the baseline has its content too.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use pyro_wire::Bytes;
use pyro_wire::files::{Diff, DiffEntry, DiffEvent, EntryKind, Meta, Stamp};
use pyro_wire::frame::DATA_CHUNK;
use pyro_wire::repositories::Repositories;

use crate::console;
use crate::files::change_lock::ChangeLock;
use crate::files::error::FileError;
use crate::files::hash;
use crate::files::index::{self, Content, Reader, Record};
use crate::files::layout::Layout;
use crate::files::status;
use crate::files::walk::{Found, Order, SKIPPED, Walk};
use crate::files::worker::Replies;

pub(crate) fn diff(
    layout: &Layout,
    changes: &ChangeLock,
    request: &Diff,
    replies: &Replies<DiffEvent>,
) -> Result<(), FileError> {
    let index = Reader::open(&layout.index())?;
    let generation = index.generation();
    let mut comparison = Comparison {
        index,
        workspace: layout.open_workspace()?,
        repositories: RefCell::default(),
        next: None,
        number: 0,
        began_ns: index::now_ns(),
        content_limit: request.content_limit,
        touched: Vec::new(),
        skipped: Vec::new(),
        replies,
    };
    comparison.run(layout)?;
    let Comparison {
        touched, skipped, ..
    } = comparison;
    replies.event(DiffEvent::End {
        skipped: skipped.into_iter().map(Into::into).collect(),
    })?;
    remember(layout, changes, generation, &touched);
    Ok(())
}

/// Spares the next comparison the reading of files that were touched but not changed. When
/// something else is going on (the disk may even be frozen), it is not that important.
fn remember(layout: &Layout, changes: &ChangeLock, generation: u64, touched: &[(u64, Stamp)]) {
    if touched.is_empty() {
        return;
    }
    let Some(_guard) = changes.try_acquire() else {
        return;
    };
    if let Err(error) = index::refresh(layout, generation, touched) {
        console::report(error);
    }
}

struct Comparison<'a> {
    index: Reader,
    workspace: OwnedFd,
    repositories: RefCell<Repositories>,
    /// The record that was read last and not yet dealt with, and the number of the next.
    next: Option<Record>,
    number: u64,
    began_ns: i64,
    content_limit: u64,
    /// Records whose files have other stamps now, but the same content.
    touched: Vec<(u64, Stamp)>,
    skipped: Vec<Vec<u8>>,
    replies: &'a Replies<DiffEvent>,
}

impl Comparison<'_> {
    fn run(&mut self, layout: &Layout) -> Result<(), FileError> {
        let workspace = layout.open_workspace()?;
        let mut walk = Walk::new(workspace, Order::Paths)
            .map_err(|error| FileError::io("read", b"", error))?;
        self.advance()?;
        while let Some(found) = walk.next()? {
            found.readable(b"")?;
            while let Some(record) = self.next.take_if(|record| *record.path < *found.path) {
                self.deleted(&record)?;
                self.advance()?;
            }
            match self.next.take_if(|record| *record.path == *found.path) {
                Some(record) => {
                    self.both(&record, &found)?;
                    self.advance()?;
                }
                None => self.added(&found)?,
            }
        }
        while let Some(record) = self.next.take() {
            self.deleted(&record)?;
            self.advance()?;
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<(), FileError> {
        self.next = self.index.next()?;
        self.number += 1;
        Ok(())
    }

    fn deleted(&self, record: &Record) -> Result<(), FileError> {
        match record.content {
            Content::Folder { empty: false } => Ok(()),
            _ => self.entry(&record.path, Some(record.meta()), None),
        }
    }

    fn added(&mut self, found: &Found) -> Result<(), FileError> {
        self.arrived(None, found)
    }

    /// Something is there that is not what the baseline has there, if it has anything.
    fn arrived(&mut self, before: Option<Meta>, found: &Found) -> Result<(), FileError> {
        match found.kind {
            EntryKind::File => match found.open_file()? {
                Some(file) => self.with_content(found.path, before, &file),
                None => self.gone(found.path, before),
            },
            EntryKind::Symlink => match self.target(found)? {
                Some(target) => {
                    let after = status::meta(&found.status, Some(target), false);
                    self.entry(found.path, before, Some(after))
                }
                None => self.gone(found.path, before),
            },
            EntryKind::Directory if found.empty => {
                let after = status::meta(&found.status, None, true);
                self.entry(found.path, before, Some(after))
            }
            EntryKind::Directory => self.gone(found.path, before),
            EntryKind::Special => {
                if self.skipped.len() < SKIPPED {
                    self.skipped.push(found.path.to_vec());
                }
                self.gone(found.path, before)
            }
        }
    }

    /// Nothing counts as being there.
    fn gone(&self, path: &[u8], before: Option<Meta>) -> Result<(), FileError> {
        match before {
            None => Ok(()),
            before => self.entry(path, before, None),
        }
    }

    fn both(&mut self, record: &Record, found: &Found) -> Result<(), FileError> {
        let same_mode = status::permissions(&found.status) == record.mode & status::PERMISSIONS;
        match (&record.content, found.kind) {
            (Content::Folder { .. }, EntryKind::Directory) => match same_mode {
                true => Ok(()),
                false => self.other_mode(record, found),
            },
            (Content::Symlink(before), EntryKind::Symlink) => match self.target(found)? {
                Some(now) if now == *before => Ok(()),
                _ => self.arrived(Some(record.meta()), found),
            },
            (Content::File(before), EntryKind::File) => {
                let stamp = status::stamp(&found.status);
                if stamp == record.stamp && same_mode {
                    return Ok(());
                }
                self.files(record, before, found, same_mode)
            }
            (Content::Folder { empty: false }, _) => self.added(found),
            _ => self.arrived(Some(record.meta()), found),
        }
    }

    /// Compares the contents of two files of which one may have been written to.
    fn files(
        &mut self,
        record: &Record,
        before: &hash::Hash,
        found: &Found,
        same_mode: bool,
    ) -> Result<(), FileError> {
        let failed = |source| FileError::io("read", found.path, source);
        let Some(mut file) = found.open_file()? else {
            return self.gone(found.path, Some(record.meta()));
        };
        let stamp = fstat(&file)
            .map(|status| status::stamp(&status))
            .map_err(|error| failed(error.into()))?;
        let same_content =
            stamp.size == record.stamp.size && hash::of_file(&file).map_err(failed)? == *before;
        if !same_content {
            file.rewind().map_err(failed)?;
            return self.with_content(found.path, Some(record.meta()), &file);
        }
        let stamp = index::settled(stamp, self.began_ns);
        if stamp != record.stamp {
            self.touched.push((self.number - 1, stamp));
        }
        match same_mode {
            true => Ok(()),
            false => self.other_mode(record, found),
        }
    }

    fn other_mode(&self, record: &Record, found: &Found) -> Result<(), FileError> {
        let after = status::meta(&found.status, None, found.empty);
        self.entry(found.path, Some(record.meta()), Some(after))
    }

    fn target(&self, found: &Found) -> Result<Option<Vec<u8>>, FileError> {
        match found.target() {
            Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
            target => target.map_err(|error| FileError::io("read", found.path, error)),
        }
    }

    /// What cannot be looked at any more is in none.
    fn repository(&self, path: &[u8]) -> Option<Bytes> {
        let kind = |path: &[u8]| match path {
            b"" => Ok::<_, Infallible>(Some(EntryKind::Directory)),
            path => {
                let status = status::lstat(&self.workspace, path).ok();
                Ok(status.as_ref().map(status::kind_of))
            }
        };
        let Ok(found) = self.repositories.borrow_mut().around(path, kind);
        found.map(|end| path[..end].to_vec().into())
    }

    fn entry(
        &self,
        path: &[u8],
        before: Option<Meta>,
        after: Option<Meta>,
    ) -> Result<(), FileError> {
        self.replies.event(DiffEvent::Entry(DiffEntry {
            path: path.to_vec().into(),
            before,
            after,
            content: false,
            repository: self.repository(path),
        }))
    }

    /// Sends an entry about a file, and its content if that is not too long: never more than the
    /// entry says, and less only when the file has become shorter meanwhile.
    fn with_content(
        &self,
        path: &[u8],
        before: Option<Meta>,
        file: &File,
    ) -> Result<(), FileError> {
        let status = fstat(file).map_err(|error| FileError::io("access", path, error))?;
        let after = status::meta(&status, None, false);
        let size = after.size;
        let content = size <= self.content_limit;
        self.replies.event(DiffEvent::Entry(DiffEntry {
            path: path.to_vec().into(),
            before,
            after: Some(after),
            content,
            repository: self.repository(path),
        }))?;
        if !content {
            return Ok(());
        }
        let mut content = file.take(size);
        loop {
            let mut chunk = Vec::with_capacity(
                usize::try_from(content.limit()).map_or(DATA_CHUNK, |left| left.min(DATA_CHUNK)),
            );
            let count = (&mut content)
                .take(DATA_CHUNK as u64)
                .read_to_end(&mut chunk)
                .map_err(|source| FileError::io("read", path, source))?;
            if count == 0 {
                return self.replies.event(DiffEvent::ContentEnd);
            }
            self.replies.data(chunk)?;
        }
    }
}
