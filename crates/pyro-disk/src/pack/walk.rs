//! Goes over all folders of the disk, each before what is in it.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::ops::ControlFlow;

use tar::EntryType;

use super::member::head;
use super::{PackError, Packed};
use crate::agent_state::AGENT_STATE;
use crate::entry::FileKind;
use crate::error::TreeError;
use crate::ext4::{Attribute, Ext4, Inode, Special};
use crate::folders::{self, DEEPEST};
use crate::layers::Layer;
use crate::tree::Chain;

/// How much is read at once.
const PIECE: u64 = 1024 * 1024;

/// A guest could make more than this host has time for.
const MOST_ENTRIES: u64 = 5_000_000;

/// How many times the size of its disk an archive may have: holes are written as zeros, and a guest can make more of
/// them than any host has room for.
const MOST_TIMES: u64 = 2;

/// What a layer of an image means a removal by.
const WHITEOUT: &[u8] = b".wh.";

/// Made with the file system, and nobody's.
const LOST_AND_FOUND: &[u8] = b"lost+found";

pub(super) struct Packer<'a> {
    disk: Ext4<Chain>,
    to: &'a mut dyn Write,
    buffer: Vec<u8>,
    /// Files with more than one name: the path that each was written at.
    linked: HashMap<u32, Vec<u8>>,
    /// Folders that were there.
    seen: HashSet<u32>,
    /// How much of the archive there is.
    written: u64,
    done: Packed,
    progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

impl<'a> Packer<'a> {
    pub(super) fn open(
        layers: &[Layer],
        to: &'a mut dyn Write,
        progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Self, PackError> {
        Ok(Self {
            disk: Ext4::open(Chain::open(layers)?, b"")?,
            to,
            buffer: Vec::new(),
            linked: HashMap::new(),
            seen: HashSet::new(),
            written: 0,
            done: Packed::default(),
            progress,
        })
    }

    pub(super) fn run(mut self) -> Result<Packed, PackError> {
        let root = self.disk.root()?;
        // The next one last.
        let mut folders = vec![(Vec::new(), root)];
        while let Some((path, inode)) = folders.pop() {
            if !self.seen.insert(inode.number) {
                return Err(damaged("a folder is in two places"));
            }
            if path.split(|byte| *byte == b'/').count() > DEEPEST {
                return Err(too_large(&path));
            }
            if !path.is_empty() {
                self.head(
                    &[&path[..], b"/"].concat(),
                    &inode,
                    EntryType::Directory,
                    b"",
                )?;
            }
            let mut below = self.folder(&path, &inode)?;
            below.reverse();
            folders.append(&mut below);
        }
        // Two blocks of zeros end an archive.
        self.write(&[0; 1024])?;
        Ok(self.done)
    }

    /// Writes all that is in a folder except for the folders, which are returned.
    fn folder(&mut self, path: &[u8], inode: &Inode) -> Result<Vec<(Vec<u8>, Inode)>, PackError> {
        let entries = self.disk.entries(inode, path)?;
        let mut folders = Vec::new();
        for (name, &number) in entries.iter() {
            let path = folders::join(path, name).ok_or_else(|| too_large(path))?;
            let below = self.disk.inode(number)?;
            if path == AGENT_STATE || path == LOST_AND_FOUND {
                continue;
            }
            if name.starts_with(WHITEOUT) {
                self.done.names_left_out += 1;
                continue;
            }
            match below.kind {
                FileKind::Directory => folders.push((path, below)),
                _ => self.member(&path, &below)?,
            }
        }
        Ok(folders)
    }

    fn member(&mut self, path: &[u8], inode: &Inode) -> Result<(), PackError> {
        if inode.kind == FileKind::Special {
            match inode.special() {
                Special::Device => {
                    self.done.devices_left_out += 1;
                    return Ok(());
                }
                Special::Socket => {
                    self.done.sockets_left_out += 1;
                    return Ok(());
                }
                Special::Pipe => {}
            }
        }
        if inode.names > 1 {
            if let Some(first) = self.linked.get(&inode.number) {
                let first = first.clone();
                return self.head(path, inode, EntryType::Link, &first);
            }
            self.linked.insert(inode.number, path.to_vec());
        }
        match inode.kind {
            // More than the disk has room for are holes, which would be written without end.
            FileKind::File if inode.size > self.disk.size() => Err(too_large(path)),
            FileKind::File => {
                self.head(path, inode, EntryType::Regular, b"")?;
                self.content(inode)
            }
            FileKind::Symlink => {
                let target = self.disk.target_of(inode)?;
                self.head(path, inode, EntryType::Symlink, &target)
            }
            FileKind::Special | FileKind::Directory => self.head(path, inode, EntryType::Fifo, b""),
        }
    }

    fn head(
        &mut self,
        path: &[u8],
        inode: &Inode,
        kind: EntryType,
        target: &[u8],
    ) -> Result<(), PackError> {
        self.done.entries += 1;
        if self.done.entries >= MOST_ENTRIES {
            return Err(too_large(path));
        }
        let attributes: Vec<Attribute> = match kind {
            EntryType::Link => Vec::new(),
            _ => self.disk.attributes(inode)?,
        };
        let head = head(path, inode, kind, target, &attributes);
        self.report()?;
        self.write(&head)
    }

    fn content(&mut self, inode: &Inode) -> Result<(), PackError> {
        let mut offset = 0;
        while offset < inode.size {
            let extent = self.disk.extent(inode, offset)?;
            // An extent may reach beyond the end of its file, and says at least one byte.
            let mut left = extent.length.min(inode.size - offset);
            if left == 0 {
                return Err(damaged("a file has a piece without bytes"));
            }
            offset += left;
            let mut place = extent.place;
            while left > 0 {
                let count = left.min(PIECE);
                let mut buffer = std::mem::take(&mut self.buffer);
                buffer.clear();
                buffer.resize(usize::try_from(count).unwrap_or_default(), 0);
                if let Some(place) = &mut place {
                    self.disk.read_place(*place, &mut buffer)?;
                    *place += count;
                }
                self.write(&buffer)?;
                self.buffer = buffer;
                self.done.bytes += count;
                left -= count;
                self.report()?;
            }
        }
        let rest = inode.size.next_multiple_of(512) - inode.size;
        self.write(&[0; 512][..usize::try_from(rest).unwrap_or_default()])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.written += bytes.len() as u64;
        let most = self.disk.size().saturating_mul(MOST_TIMES);
        if self.written > most {
            return Err(PackError::TooMuch { most });
        }
        self.to
            .write_all(bytes)
            .map_err(|source| PackError::Write { source })
    }

    fn report(&mut self) -> Result<(), PackError> {
        match (self.progress)(self.done.bytes, self.disk.used_bytes()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(PackError::Cancelled),
        }
    }
}

fn damaged(what: &'static str) -> PackError {
    TreeError::Damaged { what }.into()
}

fn too_large(path: &[u8]) -> PackError {
    let name = crate::names::escaped(path);
    TreeError::TooLarge { name }.into()
}
