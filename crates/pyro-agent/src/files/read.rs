//! Reads from a regular file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, fstat};
use pyro_wire::files::{EntryKind, Read, ReadEvent};
use pyro_wire::frame::DATA_CHUNK;

use crate::files::error::FileError;
use crate::files::inside::open_inside;
use crate::files::layout::Layout;
use crate::files::worker::Replies;
use crate::files::{display, path, status};

pub(crate) fn read(
    layout: &Layout,
    request: &Read,
    replies: &Replies<ReadEvent>,
) -> Result<(), FileError> {
    let path = layout.links()?.follow(&path::normalize(&request.path)?)?;
    let workspace = layout.open_workspace()?;
    // A look first: opening a device may already do something.
    let itself = open_inside(layout, &workspace, &path, OFlag::O_PATH)?;
    regular(&path, fstat(&itself))?;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = open_inside(layout, &workspace, &path, flags)?;
    let about = regular(&path, fstat(&file))?;
    replies.event(ReadEvent::Found {
        meta: status::meta(&about, None, false),
        stamp: status::stamp(&about),
    })?;

    let file = File::from(file);
    let mut offset = request.offset;
    let mut left = request.length;
    while left > 0 {
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(DATA_CHUNK).min(DATA_CHUNK)];
        let count = match file.read_at(&mut chunk, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // The kernel knows no offset as large as that, so nothing is there.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => 0,
            count => count.map_err(|error| FileError::io("read", &path, error))?,
        };
        if count == 0 {
            break;
        }
        chunk.truncate(count);
        offset = offset.saturating_add(count as u64);
        left -= count as u64;
        replies.data(chunk)?;
    }
    replies.event(ReadEvent::End)
}

fn regular(path: &[u8], status: nix::Result<FileStat>) -> Result<FileStat, FileError> {
    let status = status.map_err(|error| FileError::io("access", path, error))?;
    let what = match status::kind_of(&status) {
        EntryKind::File => return Ok(status),
        EntryKind::Directory => "a folder",
        EntryKind::Symlink => "a symbolic link",
        EntryKind::Special => "a FIFO, a socket or a device",
    };
    Err(FileError::refused(format!(
        "{} is {what}, and only regular files can be read",
        display::path(path)
    )))
}
