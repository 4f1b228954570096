//! One file of a chain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Storage, StorageOpenOptions};

/// A file that holds a disk, or what differs from the layers below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub path: PathBuf,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Raw,
    Qcow2,
}

impl Layer {
    pub fn raw(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            format: Format::Raw,
        }
    }

    pub fn qcow2(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            format: Format::Qcow2,
        }
    }
}

pub(crate) type OpenLayer = Arc<FormatAccess<File>>;

/// Opens one layer to read from it; without one below, what it does not hold is not there.
pub(crate) fn open(layer: &Layer, below: Option<OpenLayer>) -> io::Result<OpenLayer> {
    let file = File::open(StorageOpenOptions::new().filename(&layer.path))?;
    let deny = DenyImplicitOpenGate::default();
    let access = match layer.format {
        Format::Raw => FormatAccess::new(Raw::builder(file).open(deny)?),
        Format::Qcow2 => FormatAccess::new(
            Qcow2::<File, OpenLayer>::builder(file)
                .backing(below)
                .data_file(None)
                .open(deny)?,
        ),
    };
    Ok(Arc::new(access))
}
