//! Between `pyro-disk`, which reads disks that nobody writes to, and the words of the rest: chains,
//! kinds of files, and what goes wrong with layers.

use pyro_api::{Error, ErrorCode};
use pyro_disk::FileKind;
use pyro_disk::layers::{Format, Layer, LayerError};
use pyro_wire::files::EntryKind;
use pyro_wire::launch::{DiskFormat, DiskLayer};

use crate::error::cancelled;

/// The files of a chain that no VM has open, or only to read.
pub(crate) fn layers_of(chain: &[DiskLayer]) -> Vec<Layer> {
    let layer = |layer: &DiskLayer| {
        Some(Layer {
            path: layer.path.clone(),
            format: match layer.format {
                DiskFormat::Raw => Format::Raw,
                DiskFormat::Qcow2 => Format::Qcow2,
                // No part of an image: a chain of these has no file to be read.
                DiskFormat::Folder => return None,
            },
        })
    };
    chain.iter().filter_map(layer).collect()
}

/// What a guest would call it.
pub(crate) fn entry_kind(kind: FileKind) -> EntryKind {
    match kind {
        FileKind::File => EntryKind::File,
        FileKind::Directory => EntryKind::Directory,
        FileKind::Symlink => EntryKind::Symlink,
        FileKind::Special => EntryKind::Special,
    }
}

pub(crate) fn layers_failed(what: String, error: &LayerError) -> Error {
    let full = |source: &std::io::Error| source.kind() == std::io::ErrorKind::StorageFull;
    let (code, hint) = match error {
        LayerError::Cancelled => return cancelled(),
        LayerError::Write { source, .. } if full(source) => (
            ErrorCode::NoSpace,
            "Free space on this host; nothing was changed",
        ),
        LayerError::Write { .. } => (
            ErrorCode::HostIo,
            "Check that the folder is writable; nothing was changed",
        ),
        LayerError::Read { .. } | LayerError::Damaged { .. } => (
            ErrorCode::Damaged,
            "Nothing was changed. Another snapshot may be intact: `pyro workspace reset \
             --snapshot` (`workspace_reset`)",
        ),
    };
    Error::new(code, what).caused_by(error).hint(hint)
}
