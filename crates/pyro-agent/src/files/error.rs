//! Why a request about files was not carried out.

use std::io;

use nix::errno::Errno;
use pyro_wire::fault::{Fault, FaultCode};

use crate::files::display;
use crate::user::UserError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{path} cannot be used: {why}")]
    BadPath { path: String, why: String },
    #[error("{path} does not exist")]
    NotFound { path: String },
    #[error("{path} {why}")]
    Conflict { path: String, why: &'static str },
    #[error("{what}")]
    Refused { what: String },
    #[error(transparent)]
    User(#[from] UserError),
    #[error("the archive is damaged at byte {at}: {why}")]
    Archive { at: u64, why: String },
    #[error("cannot {step} {path}: {source}")]
    Io {
        step: &'static str,
        path: String,
        source: io::Error,
    },
    #[error("the caller has disconnected")]
    Gone,
}

impl FileError {
    pub(crate) fn bad_path(path: &[u8], why: impl Into<String>) -> Self {
        Self::BadPath {
            path: display::path(path),
            why: why.into(),
        }
    }

    pub(crate) fn not_found(path: &[u8]) -> Self {
        Self::NotFound {
            path: display::path(path),
        }
    }

    pub(crate) fn conflict(path: &[u8], why: &'static str) -> Self {
        Self::Conflict {
            path: display::path(path),
            why,
        }
    }

    pub(crate) fn changed(path: &[u8]) -> Self {
        Self::conflict(path, "was changed by something else at the same time")
    }

    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::Refused { what: what.into() }
    }

    /// A failure of the system about a path of the workspace.
    pub(crate) fn io(step: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::at(step, display::path(path), source)
    }

    /// A failure of the system about anything else, which is given in words.
    pub(crate) fn at(
        step: &'static str,
        path: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io {
            step,
            path: path.into(),
            source: source.into(),
        }
    }

    /// A failure to get at a path of the workspace, by what it says about the path.
    pub(crate) fn opening(path: &[u8], error: Errno) -> Self {
        match error {
            Errno::ENOENT => Self::not_found(path),
            Errno::EXDEV => Self::bad_path(path, "it leads out of the workspace"),
            Errno::ELOOP => Self::bad_path(path, "it leads through a symbolic link"),
            Errno::ENOTDIR => {
                Self::bad_path(path, "it leads through something that is not a folder")
            }
            Errno::ENAMETOOLONG => Self::bad_path(path, "it is longer than the system allows"),
            error => Self::io("open", path, error),
        }
    }

    pub(crate) fn fault(&self) -> Fault {
        let code = match self {
            Self::BadPath { .. } => FaultCode::BadPath,
            Self::NotFound { .. } => FaultCode::NotFound,
            Self::Conflict { .. } => FaultCode::Conflict,
            Self::Refused { .. } => FaultCode::Refused,
            Self::User(_) => FaultCode::UnknownUser,
            Self::Archive { .. } => FaultCode::Protocol,
            // Whoever hears of it nevertheless is cut off by the end of the VM.
            Self::Gone => FaultCode::Over,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    FaultCode::GuestNoSpace
                }
                _ => FaultCode::GuestIo,
            },
        };
        Fault::new(code, self.to_string())
    }
}
