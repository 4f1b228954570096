//! Writes the file system of a disk into a folder of this host.
//!
//! All is as it was on the disk: owners, rights, times, attributes, hard links, holes. Two things
//! stay out, and are counted: devices, which are nobody's business on a host, and attributes that
//! the host refuses or that an overlay over the folder would take for its own. The agent's own files
//! ([`AGENT_STATE`](crate::AGENT_STATE)) stay out as well.
//!
//! The disk may be hostile. None of its paths is ever opened: each folder is made, opened and
//! written to by its own descriptor, so what lies in the way makes an error and leads nowhere. How
//! much is written is bounded by the size of the disk.
//!
//! Owners other than the caller need the right to give files away, which root has, or whoever is
//! root of a user namespace with those ids.

mod attributes;
mod content;
mod entries;
mod error;
#[cfg(test)]
mod tests;
mod walk;

use std::ops::ControlFlow;
use std::path::Path;

pub use self::error::UnpackError;
use self::walk::Unpacker;
use crate::layers::Layer;

/// What became of a disk's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files, folders, links, pipes and sockets, by their names.
    pub entries: u64,
    /// Of the files, holes not counted.
    pub bytes: u64,
    /// What all of it takes on this host's disk.
    pub allocated: u64,
    /// Left out.
    pub devices: u64,
    /// Extended attributes that were left out.
    pub attributes: u64,
}

/// Writes the whole file system of a chain of layers, bottom first, into a folder that is there and
/// empty. The folder itself gets what the root of the file system has.
///
/// `progress` gets how many bytes were written and about how many there are, and may cancel. After
/// an error the folder holds a part, and nothing of it has been flushed to the disk in any case.
pub fn unpack(
    layers: &[Layer],
    folder: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Unpacked, UnpackError> {
    Unpacker::open(layers, folder, progress)?.run()
}
