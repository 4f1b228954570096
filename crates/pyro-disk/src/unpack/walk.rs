//! Goes over all folders of the disk, each open while what is below it is made.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::error::{damaged, too_large, write};
use super::{UnpackError, Unpacked};
use crate::agent_state::AGENT_STATE;
use crate::entry::FileKind;
use crate::ext4::{Ext4, Inode};
use crate::folders::{self, DEEPEST};
use crate::layers::{Format, Layer};
use crate::tree::Chain;

/// A guest could make more than this host has time for.
const MOST_ENTRIES: u64 = 5_000_000;

pub(super) struct Unpacker<'a> {
    pub(super) disk: Ext4<Chain>,
    /// The disk itself, where it is one file that has the bytes as they are.
    pub(super) raw: Option<File>,
    /// Where paths begin.
    pub(super) root: OwnedFd,
    /// Pieces of files that were looked at.
    pub(super) pieces: u64,
    pub(super) buffer: Vec<u8>,
    /// Files with more than one name: the path that each was made at.
    pub(super) linked: HashMap<u32, Vec<u8>>,
    pub(super) done: Unpacked,
    pub(super) progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

/// Where something is made: its name in an open folder, and its path for errors and hard links.
pub(super) struct Place<'a> {
    pub(super) folder: &'a OwnedFd,
    pub(super) name: &'a [u8],
    pub(super) path: &'a [u8],
}

/// A folder that things are being made in.
struct Frame {
    inode: Inode,
    open: OwnedFd,
    path: Vec<u8>,
    /// Those in it, the next one last.
    folders: Vec<(Vec<u8>, Inode)>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn open(
        layers: &[Layer],
        folder: &Path,
        progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Self, UnpackError> {
        let raw = match layers {
            [only] if only.format == Format::Raw => File::open(&only.path).ok(),
            _ => None,
        };
        Ok(Self {
            disk: Ext4::open(Chain::open(layers)?, b"")?,
            raw,
            root: open_empty(folder)?,
            pieces: 0,
            buffer: Vec::new(),
            linked: HashMap::new(),
            done: Unpacked::default(),
            progress,
        })
    }

    pub(super) fn run(mut self) -> Result<Unpacked, UnpackError> {
        let root = self.disk.root()?;
        let mut seen = HashSet::from([root.number]);
        let open = self.root.try_clone().map_err(write(b""))?;
        let mut frames = vec![self.enter(root, open, Vec::new())?];
        while let Some(frame) = frames.last_mut() {
            let Some((name, inode)) = frame.folders.pop() else {
                // Last of all, as all that happens in a folder changes its times.
                self.dress(&frame.inode, &frame.open, &frame.path)?;
                frames.pop();
                continue;
            };
            let path = join(&frame.path, &name)?;
            if !seen.insert(inode.number) {
                return Err(damaged("a folder is in two places"));
            }
            if path == AGENT_STATE {
                continue;
            }
            if frames.len() >= DEEPEST {
                return Err(too_large(&path));
            }
            let frame = &frames[frames.len() - 1];
            let open = folders::make(&frame.open, &name).map_err(write(&path))?;
            self.count()?;
            let frame = self.enter(inode, open, path)?;
            frames.push(frame);
        }
        Ok(self.done)
    }

    /// Makes all that is in a folder except for the folders.
    fn enter(&mut self, inode: Inode, open: OwnedFd, path: Vec<u8>) -> Result<Frame, UnpackError> {
        let entries = self.disk.entries(&inode, &path)?;
        // In the order of the inodes, which is that of the contents on a disk made in one go.
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_unstable_by_key(|&(name, &number)| (number, name));
        let mut folders = Vec::new();
        for (name, &number) in entries {
            let below = self.disk.inode(number)?;
            if below.kind == FileKind::Directory {
                folders.push((name.clone(), below));
                continue;
            }
            let path = join(&path, name)?;
            self.make(
                &below,
                &Place {
                    folder: &open,
                    name,
                    path: &path,
                },
            )?;
        }
        folders.reverse();
        Ok(Frame {
            inode,
            open,
            path,
            folders,
        })
    }

    pub(super) fn count(&mut self) -> Result<(), UnpackError> {
        self.done.entries += 1;
        match self.done.entries {
            MOST_ENTRIES.. => Err(too_large(b"")),
            _ => self.report(),
        }
    }

    pub(super) fn report(&mut self) -> Result<(), UnpackError> {
        match (self.progress)(self.done.bytes, self.disk.used_bytes()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(UnpackError::Cancelled),
        }
    }
}

fn open_empty(path: &Path) -> Result<OwnedFd, UnpackError> {
    let failed = |errno: nix::errno::Errno| UnpackError::Folder {
        path: path.to_owned(),
        source: errno.into(),
    };
    let folder = folders::open(path).map_err(failed)?;
    match folders::names(&folder).map_err(failed)?.is_empty() {
        true => Ok(folder),
        false => Err(UnpackError::NotEmpty {
            path: path.to_owned(),
        }),
    }
}

fn join(folder: &[u8], name: &[u8]) -> Result<Vec<u8>, UnpackError> {
    folders::join(folder, name).ok_or_else(|| too_large(folder))
}
