//! Why an export did not happen.

use std::io;
use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::names::escaped;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("`{path}` names no file or folder")]
    NoName { path: PathBuf },
    #[error("`{path}` is not an existing folder")]
    NoFolder { path: PathBuf },
    #[error("`{path}` already exists")]
    Exists { path: PathBuf },
    #[error("`{path}` is a folder and cannot be replaced with a file")]
    IsFolder { path: PathBuf },
    #[error("`{path}` is a file and cannot be replaced with a folder")]
    IsFile { path: PathBuf },
    #[error("`{path}` is the home folder or the working folder, or contains one of them")]
    Protected { path: PathBuf },
    #[error("`{path}` cannot be written")]
    Unwritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file system that cannot swap two names in one step, as some network ones.
    #[error("the file system of `{path}` cannot replace what is there atomically")]
    NoSwap { path: PathBuf },
    /// Names are escaped for people.
    #[error("`{name}` could not be written")]
    Write {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("the guest sent an invalid export: `{name}` {why}")]
    Hostile { name: String, why: String },
    #[error("the guest's archive cannot be used")]
    Archive {
        #[from]
        source: ArchiveError,
    },
    #[error("it was cancelled")]
    Cancelled,
}

impl ExportError {
    pub(super) fn write(name: &[u8], source: io::Error) -> Self {
        Self::Write {
            name: escaped(name),
            source,
        }
    }

    pub(super) fn hostile(name: &[u8], why: impl Into<String>) -> Self {
        Self::Hostile {
            name: escaped(name),
            why: why.into(),
        }
    }
}
