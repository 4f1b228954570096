use std::io;
use std::path::PathBuf;

use crate::forbidden::Forbidden;

#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// This host, or this user's share of it, has no such namespaces to give.
    #[error("{0}")]
    Forbidden(Forbidden),
    #[error("{} could not be executed: {source}", program.display())]
    Exec { program: PathBuf, source: io::Error },
    /// Something that does not depend on namespaces.
    #[error("{what}: {source}")]
    Io {
        what: &'static str,
        source: io::Error,
    },
}

impl NamespaceError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// What a person can do about it, where that is known.
    pub fn fix(&self) -> Option<&str> {
        match self {
            Self::Forbidden(forbidden) => Some(&forbidden.fix),
            Self::Exec { .. } | Self::Io { .. } => None,
        }
    }
}
