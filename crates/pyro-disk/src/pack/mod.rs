//! Writes the file system of a disk as a tar archive, as a layer of an image holds one.
//!
//! Owners, rights, times, attributes and hard links are as on the disk. What an image cannot hold stays out and
//! is counted: devices, sockets, and files whose names mean a removal there (`.wh.…`). So do the agent's own
//! files ([`AGENT_STATE`](crate::AGENT_STATE)) and `lost+found`, which is the file system's. Holes are written
//! as zeros, for not every tool that reads images knows how to read them otherwise; so an archive has a largest size,
//! twice that of the disk.
//!
//! Nothing is written but the archive, so it takes no rights, and memory for the names of hard links only.

mod member;
#[cfg(test)]
mod tests;
mod walk;

use std::io::{self, Write};
use std::ops::ControlFlow;

use self::walk::Packer;
use crate::error::TreeError;
use crate::layers::Layer;

/// What became of a disk's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Files, folders, links and pipes, by their names.
    pub entries: u64,
    /// Of the files.
    pub bytes: u64,
    pub devices_left_out: u64,
    pub sockets_left_out: u64,
    /// Files whose names no image can have.
    pub names_left_out: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error(transparent)]
    Disk(#[from] TreeError),
    #[error("the archive cannot be written")]
    Write {
        #[from]
        source: io::Error,
    },
    /// Most of it are holes, as the disk has no room for more than half of that.
    #[error("its files have more than {most} bytes in all, which is twice the size of the disk")]
    TooMuch { most: u64 },
    #[error("the call was cancelled")]
    Cancelled,
}

/// Writes the whole file system of a chain of layers, bottom first. `progress` gets how many bytes were written
/// and about how many there are, and may cancel.
pub fn pack(
    layers: &[Layer],
    to: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Packed, PackError> {
    Packer::open(layers, to, progress)?.run()
}
