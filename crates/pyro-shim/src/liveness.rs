//! The lock that says "this VM is alive".
//!
//! A pid may be another process tomorrow; a lock cannot lie. It belongs to the *open file*, which
//! the shim and its VMM share, so it is free only when both are gone, however they went.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::shim::LIVENESS_LOCK;

use crate::lock_file;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LivenessError {
    #[error("another shim owns this VM")]
    Held,
    #[error("the folder was removed while the lock was taken")]
    Removed,
    #[error("the lock could not be taken: {source}")]
    Io {
        #[from]
        source: io::Error,
    },
}

impl From<LivenessError> for Fault {
    fn from(error: LivenessError) -> Self {
        let code = match &error {
            LivenessError::Held | LivenessError::Removed => FaultCode::Refused,
            LivenessError::Io { source } => FaultCode::of_io(source),
        };
        Self::new(code, error.to_string())
    }
}

/// The held lock. Dropping it closes this side's descriptor and does not unlock: a VMM that could
/// not be killed still holds it, and that is the truth.
pub(crate) struct Liveness {
    file: File,
}

impl Liveness {
    /// Takes the lock in the current folder.
    pub(crate) fn take() -> Result<Self, LivenessError> {
        let file = lock_file::open(LIVENESS_LOCK.as_ref())?;
        if !lock_file::try_lock(&file)? {
            return Err(LivenessError::Held);
        }
        // A shim that ends removes the file under its lock: then this lock guards nothing.
        match std::fs::metadata(LIVENESS_LOCK) {
            Ok(now) if now.ino() == file.metadata()?.ino() => Ok(Self { file }),
            _ => Err(LivenessError::Removed),
        }
    }

    /// A second handle on the same lock, for a VMM to inherit.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }
}
