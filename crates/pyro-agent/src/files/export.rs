//! Packs a file, a link or a folder into an archive.
//!
//! Names that share one inode are packed as hard links, so that what is unpacked shares it too.
//! Files may change while they are read: what the header says is what follows it, cut or filled
//! up with zeroes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, fstat};
use pyro_wire::files::{EntryKind, Export, ExportEvent, Stamp};
use pyro_wire::frame::BULK_CHUNK;
use pyro_wire::sparse::{self, Part};

use crate::files::archive::read::{Member, MemberKind};
use crate::files::archive::write::{self, Writer};
use crate::files::error::FileError;
use crate::files::inside::open_inside;
use crate::files::layout::Layout;
use crate::files::walk::{Found, Order, SKIPPED, Walk};
use crate::files::worker::Replies;
use crate::files::{display, folder, path, status};

/// How many files with several names are remembered. What comes later is packed once more.
const LINKS: usize = 64 * 1024;

pub(crate) fn export(
    layout: &Layout,
    request: &Export,
    replies: &Replies<ExportEvent>,
) -> Result<(), FileError> {
    let base = path::normalize(&request.path)?;
    let workspace = layout.open_workspace()?;
    let itself = open_inside(layout, &workspace, &base, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let about = fstat(&itself).map_err(|error| FileError::io("access", &base, error))?;
    let mut packing = Packing {
        base: &base,
        writer: Writer::default(),
        links: HashMap::new(),
        skipped: Vec::new(),
        too_deep: Vec::new(),
        replies,
    };
    match status::kind_of(&about) {
        EntryKind::Directory => {
            packing.header(&about, b".", MemberKind::Folder, b"")?;
            let folder =
                folder::open(&itself, b".").map_err(|error| FileError::io("read", &base, error))?;
            let mut walk = Walk::new(folder, Order::Tree)
                .map_err(|error| FileError::io("read", &base, error))?;
            while let Some(found) = walk.next()? {
                // One such folder is no reason to keep the rest.
                if found.unreadable == Some(Errno::ELOOP) {
                    if packing.too_deep.len() < SKIPPED {
                        packing.too_deep.push(path::join(&base, found.path));
                    }
                    continue;
                }
                found.readable(&base)?;
                packing.pack(&found)?;
            }
        }
        EntryKind::Symlink => {
            let target = status::target(&itself, b"")
                .map_err(|error| FileError::io("read", &base, error))?;
            packing.header(&about, b".", MemberKind::Symlink, &target)?;
        }
        EntryKind::File => {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
            let file = open_inside(layout, &workspace, &base, flags)?;
            packing.file(b".", &File::from(file))?;
        }
        EntryKind::Special => {
            return Err(FileError::refused(format!(
                "{} is a FIFO, a socket or a device, which cannot be exported",
                display::path(&base)
            )));
        }
    }
    packing.writer.content(&write::end());
    packing.send()?;
    replies.event(ExportEvent::End {
        skipped: packing.skipped.into_iter().map(Into::into).collect(),
        too_deep: packing.too_deep.into_iter().map(Into::into).collect(),
    })
}

struct Packing<'a> {
    base: &'a [u8],
    writer: Writer,
    /// The first name of each file that has several.
    links: HashMap<(u64, Stamp), Vec<u8>>,
    skipped: Vec<Vec<u8>>,
    too_deep: Vec<Vec<u8>>,
    replies: &'a Replies<ExportEvent>,
}

impl Packing<'_> {
    /// Packs what a walk came by. What has vanished meanwhile is passed over.
    fn pack(&mut self, found: &Found) -> Result<(), FileError> {
        match found.kind {
            EntryKind::Directory => self.header(&found.status, found.path, MemberKind::Folder, b""),
            EntryKind::Symlink => match found.target() {
                Ok(target) => {
                    let target = target.unwrap_or_default();
                    self.header(&found.status, found.path, MemberKind::Symlink, &target)
                }
                Err(Errno::ENOENT | Errno::EINVAL) => Ok(()),
                Err(error) => Err(self.failed("read", found.path, error)),
            },
            EntryKind::File => match found.open_file()? {
                Some(file) => self.file(found.path, &file),
                None => Ok(()),
            },
            EntryKind::Special => {
                if self.skipped.len() < SKIPPED {
                    self.skipped.push(path::join(self.base, found.path));
                }
                Ok(())
            }
        }
    }

    fn file(&mut self, name: &[u8], file: &File) -> Result<(), FileError> {
        let about = fstat(file).map_err(|error| self.failed("access", name, error))?;
        if about.st_nlink > 1 {
            let key = (about.st_dev, status::stamp(&about));
            if let Some(first) = self.links.get(&key) {
                let first = first.clone();
                return self.header(&about, name, MemberKind::HardLink, &first);
            }
            if self.links.len() < LINKS {
                self.links.insert(key, name.to_vec());
            }
        }
        let size = status::size(&about);
        let parts = sparse::parts_of(file, size, about.st_blocks)
            .map_err(|source| self.failed("read", name, source))?;
        let member = member(&about, name, MemberKind::File, b"");
        let stored = match &parts {
            Some(parts) => self.writer.sparse(&member, parts),
            None => {
                self.writer.header(&member);
                size
            }
        };
        if size >= BULK_CHUNK as u64 {
            // Its content then travels, and is written, in whole pages.
            self.send()?;
        } else {
            self.send_full()?;
        }
        let whole = [Part {
            offset: 0,
            length: size,
        }];
        for part in parts.as_deref().unwrap_or(&whole) {
            self.content(name, file, *part)?;
        }
        self.writer.content(write::pad(stored));
        self.send_full()
    }

    fn content(&mut self, name: &[u8], mut file: &File, part: Part) -> Result<(), FileError> {
        file.seek(SeekFrom::Start(part.offset))
            .map_err(|source| self.failed("read", name, source))?;
        let mut left = part.length;
        // It may become shorter, and then longer again: what is missing once is missing for good.
        let mut ended = false;
        while left > 0 {
            let space = BULK_CHUNK.saturating_sub(self.writer.len());
            let space = usize::try_from(left).map_or(space, |left| left.min(space));
            let mut count = 0;
            if !ended {
                count = self
                    .writer
                    .read_from(&mut file, space)
                    .map_err(|source| self.failed("read", name, source))?;
                ended = count < space;
            }
            self.writer.zeroes(space - count);
            left -= space as u64;
            self.send_full()?;
        }
        Ok(())
    }

    fn header(
        &mut self,
        about: &FileStat,
        name: &[u8],
        kind: MemberKind,
        link: &[u8],
    ) -> Result<(), FileError> {
        self.writer.header(&member(about, name, kind, link));
        self.send_full()
    }

    fn send_full(&mut self) -> Result<(), FileError> {
        match self.writer.len() >= BULK_CHUNK {
            true => self.send(),
            false => Ok(()),
        }
    }

    fn send(&mut self) -> Result<(), FileError> {
        self.replies.data(self.writer.take())
    }

    fn failed(
        &self,
        step: &'static str,
        name: &[u8],
        source: impl Into<std::io::Error>,
    ) -> FileError {
        let path = match name {
            b"." => self.base.to_vec(),
            name => path::join(self.base, name),
        };
        FileError::io(step, &path, source)
    }
}

fn member(about: &FileStat, name: &[u8], kind: MemberKind, link: &[u8]) -> Member {
    Member {
        name: name.to_vec(),
        kind,
        mode: status::permissions(about),
        mtime_ns: status::mtime_ns(about),
        size: match kind {
            MemberKind::File => status::size(about),
            MemberKind::Folder | MemberKind::Symlink | MemberKind::HardLink => 0,
        },
        link: link.to_vec(),
    }
}
