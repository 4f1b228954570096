//! Why a file could not be read from a disk or folder.

use std::io;
use std::path::PathBuf;

use crate::names::escaped;

#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("the disk layer `{path}` cannot be read")]
    Layer {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the folder `{path}` cannot be read")]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("reading the disk failed")]
    Disk {
        #[source]
        source: io::Error,
    },
    /// Nothing is said by that of what it was to read.
    #[error("the process that reads these files gives no answer")]
    Gone {
        #[source]
        source: io::Error,
    },
    /// It was neither unmounted nor frozen, so what is on it is not whole without its journal.
    #[error("the disk was not unmounted cleanly")]
    NotClean,
    #[error("the disk holds a file system that pyro cannot read: {what}")]
    Unsupported { what: &'static str },
    #[error("the file system of the disk is damaged: {what}")]
    Damaged { what: &'static str },
    /// Names are escaped for people.
    #[error("there is no `{name}`")]
    NotFound { name: String },
    #[error("`{name}` is not {wanted}")]
    WrongKind { name: String, wanted: &'static str },
    #[error("`{name}` is a loop of links")]
    Endless { name: String },
    #[error("`{name}` is too large to list")]
    TooLarge { name: String },
    #[error("`{name}` cannot be read")]
    Unreadable {
        name: String,
        #[source]
        source: io::Error,
    },
}

impl TreeError {
    /// The same of a tree that is a whole disk, whose names begin at its root.
    pub fn from_root(mut self) -> Self {
        if let Self::NotFound { name }
        | Self::WrongKind { name, .. }
        | Self::Endless { name }
        | Self::TooLarge { name }
        | Self::Unreadable { name, .. } = &mut self
        {
            name.insert(0, '/');
        }
        self
    }

    pub(crate) fn not_found(path: &[u8]) -> Self {
        Self::NotFound {
            name: escaped(path),
        }
    }

    pub(crate) fn wrong_kind(path: &[u8], wanted: &'static str) -> Self {
        Self::WrongKind {
            name: escaped(path),
            wanted,
        }
    }
}
