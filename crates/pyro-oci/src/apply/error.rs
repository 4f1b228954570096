//! Why layers could not be applied.

use std::io;

use pyro_transfer::archive::ArchiveError;

use crate::OciError;

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("layer {layer} cannot be read")]
    Stream {
        layer: usize,
        #[source]
        source: io::Error,
    },
    #[error("layer {layer} is no sound archive")]
    Archive {
        layer: usize,
        #[source]
        source: ArchiveError,
    },
    #[error(transparent)]
    Image(#[from] OciError),
    #[error("layer {layer} has a member that it may not have: `{name}` {why}")]
    Member {
        layer: usize,
        name: String,
        why: &'static str,
    },
    #[error("`{name}` belongs to {user}:{group}, and guests have the ids 0 to 65535")]
    Owner { name: String, user: u64, group: u64 },
    #[error(
        "the layers hold more than {most} bytes: as files and as a disk they take twice as much, and the disk of the environment cache has not that much free"
    )]
    TooLarge { most: u64 },
    #[error("the layers hold more than {most} files, which is what is unpacked")]
    TooMany { most: u64 },
    #[error("`{name}` cannot be made")]
    Host {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("nobody wants it any more")]
    Unwanted,
}

impl ApplyError {
    /// What the host said, where it was the host.
    pub fn host(&self) -> Option<&io::Error> {
        match self {
            Self::Host { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether it may come of bytes that are not those of the layer.
    pub(super) fn is_of_bytes(&self) -> bool {
        matches!(
            self,
            Self::Stream { .. }
                | Self::Archive { .. }
                | Self::Member { .. }
                | Self::Owner { .. }
                | Self::Image(OciError::Unreadable { .. })
        )
    }

    /// Whether the host has no room left.
    pub(super) fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let kind = self.host().map(io::Error::kind);
        matches!(kind, Some(StorageFull | QuotaExceeded))
    }

    /// For `map_err` around what makes `name`.
    pub(super) fn making<E: Into<io::Error>>(name: &[u8]) -> impl FnOnce(E) -> Self {
        let name = shown(name);
        move |source| Self::Host {
            name,
            source: source.into(),
        }
    }
}

/// A name for people: short, and with nothing that a terminal acts on.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut escaped: String = text.escape_debug().take(200).collect();
    if escaped.is_empty() {
        escaped.push('/');
    }
    escaped
}
