//! What is wrong with a source.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::archive::ArchiveError;
use crate::names::escaped;

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("`{path}` cannot be used")]
    Unusable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` is neither a folder nor a .tar, .tar.gz, .tgz or .tar.zst file")]
    NotASource { path: PathBuf },
    /// Names are escaped for people.
    #[error("`{name}` {why}")]
    Refused { name: String, why: String },
    /// A file that says what is left out, and nobody knows what.
    #[error("`{name}` {why}, so it is unknown what it leaves out")]
    NoRules { name: String, why: String },
    #[error("`{name}` cannot be read")]
    Unreadable {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("`{name}` changed while it was read")]
    Changed { name: String },
    #[error("there are more than {most} entries, the most that a workspace can hold")]
    TooMany { most: u64 },
    #[error("the archive `{path}` cannot be used")]
    Archive {
        path: PathBuf,
        #[source]
        source: ArchiveError,
    },
    /// The other end of the stream went away or failed; its own error says why.
    #[error("the connection to the workspace was lost")]
    Stream {
        #[source]
        source: io::Error,
    },
    #[error("it was cancelled")]
    Cancelled,
}

impl ImportError {
    pub(super) fn unusable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Unusable {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn refused(name: &[u8], why: impl Into<String>) -> Self {
        Self::Refused {
            name: escaped(name),
            why: why.into(),
        }
    }

    pub(super) fn unreadable(name: &[u8], source: io::Error) -> Self {
        Self::Unreadable {
            name: escaped(name),
            source,
        }
    }

    pub(super) fn changed(name: &[u8]) -> Self {
        Self::Changed {
            name: escaped(name),
        }
    }

    /// What it means that an entry, which was there a moment ago, cannot be opened or read.
    pub(super) fn reading(name: &[u8]) -> impl FnOnce(Errno) -> Self {
        |errno| match errno {
            // Gone, or replaced by something of another kind.
            Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => Self::changed(name),
            errno => Self::unreadable(name, errno.into()),
        }
    }
}
