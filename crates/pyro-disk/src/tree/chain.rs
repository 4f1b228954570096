//! A chain of disk layers as one range of bytes.

use std::io;
use std::sync::Arc;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Storage, StorageOpenOptions};
use pyro_wire::launch::{DiskFormat, DiskLayer};

use super::error::TreeError;

/// Bytes that can be read at any place. What is beyond the end reads as zeros.
pub(super) trait ReadAt {
    fn size(&self) -> u64;
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

pub(crate) type Layer = Arc<FormatAccess<File>>;

pub(super) struct Chain(Layer);

impl Chain {
    /// What headers say about backing and data files is not believed: only the files that are
    /// named here are opened, and only to read.
    pub(super) fn open(layers: &[DiskLayer]) -> Result<Self, TreeError> {
        let mut top: Option<Layer> = None;
        for layer in layers {
            let opened = open_layer(layer, top.take()).map_err(|source| TreeError::Layer {
                path: layer.path.clone(),
                source,
            })?;
            top = Some(opened);
        }
        top.map(Self).ok_or(TreeError::Damaged {
            what: "there is no layer",
        })
    }
}

/// Opens one layer to read from it; without one below, what it does not hold is not there.
pub(crate) fn open_layer(layer: &DiskLayer, below: Option<Layer>) -> io::Result<Layer> {
    let file = File::open(StorageOpenOptions::new().filename(&layer.path))?;
    let deny = DenyImplicitOpenGate::default();
    let access = match layer.format {
        DiskFormat::Raw => FormatAccess::new(Raw::builder(file).open(deny)?),
        DiskFormat::Qcow2 => FormatAccess::new(
            Qcow2::<File, Layer>::builder(file)
                .backing(below)
                .data_file(None)
                .open(deny)?,
        ),
    };
    Ok(Arc::new(access))
}

impl ReadAt for Chain {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read(buffer, offset)
    }
}
