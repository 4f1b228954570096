//! Why a layer could not be copied.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::folders::{DEEPEST, LONGEST};
use crate::names::escaped;

/// How much of a path that is too long is shown: enough to find its beginning.
const SHOWN: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("the folder `{}` cannot be used", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the folder `{}` is not empty", path.display())]
    NotEmpty { path: PathBuf },
    /// Names are escaped for people.
    #[error("`{name}` cannot be read")]
    Read {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("`{name}` cannot be written")]
    Write {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "folders lie in one another deeper than a path reaches ({DEEPEST} of them, or {LONGEST} bytes): `{name}`"
    )]
    TooDeep { name: String },
    #[error("the call was cancelled")]
    Cancelled,
}

impl CopyError {
    /// What the host said, where it is the host that refused.
    pub fn host(&self) -> Option<&io::Error> {
        match self {
            Self::Folder { source, .. }
            | Self::Read { source, .. }
            | Self::Write { source, .. } => Some(source),
            Self::NotEmpty { .. } | Self::TooDeep { .. } | Self::Cancelled => None,
        }
    }
}

pub(crate) fn unusable(folder: &Path) -> impl FnOnce(Errno) -> CopyError {
    |errno| CopyError::Folder {
        path: folder.to_owned(),
        source: errno.into(),
    }
}

pub(crate) fn read<E: Into<io::Error>>(path: &[u8]) -> impl FnOnce(E) -> CopyError {
    |source| CopyError::Read {
        name: escaped(path),
        source: source.into(),
    }
}

pub(crate) fn write<E: Into<io::Error>>(path: &[u8]) -> impl FnOnce(E) -> CopyError {
    |source| CopyError::Write {
        name: escaped(path),
        source: source.into(),
    }
}

pub(crate) fn too_deep(path: &[u8]) -> CopyError {
    CopyError::TooDeep {
        name: match path.get(..SHOWN) {
            Some(beginning) => format!("{}…", escaped(beginning)),
            None => escaped(path),
        },
    }
}
