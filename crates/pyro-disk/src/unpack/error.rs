//! Why a disk could not be unpacked.

use std::io;
use std::path::PathBuf;

use crate::error::TreeError;
use crate::names::escaped;

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Disk(#[from] TreeError),
    #[error("the folder `{}` cannot be written to", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the folder `{}` is not empty", path.display())]
    NotEmpty { path: PathBuf },
    /// Names are escaped for people.
    #[error("`{name}` cannot be written")]
    Write {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("`{name}` cannot be given to user {owner} and group {group}")]
    Owner {
        name: String,
        owner: u32,
        group: u32,
        #[source]
        source: io::Error,
    },
    #[error("the call was cancelled")]
    Cancelled,
}

impl UnpackError {
    /// What the host said, where it is the host that refused.
    pub fn host(&self) -> Option<&io::Error> {
        match self {
            Self::Folder { source, .. }
            | Self::Write { source, .. }
            | Self::Owner { source, .. } => Some(source),
            Self::Disk(_) | Self::NotEmpty { .. } | Self::Cancelled => None,
        }
    }
}

pub(super) fn write<E: Into<io::Error>>(path: &[u8]) -> impl FnOnce(E) -> UnpackError {
    |source| UnpackError::Write {
        name: escaped(path),
        source: source.into(),
    }
}

pub(super) fn damaged(what: &'static str) -> UnpackError {
    TreeError::Damaged { what }.into()
}

pub(super) fn too_large(path: &[u8]) -> UnpackError {
    let name = escaped(path);
    TreeError::TooLarge { name }.into()
}
