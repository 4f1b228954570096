//! A failure as it travels between rooms: a stable code, the words, and the evidence.

use std::io;

use serde::{Deserialize, Serialize};

/// Why a shim or an agent could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub code: FaultCode,
    /// One line: what failed and why, without a full stop.
    pub message: String,
    /// Evidence, nearest first: the end of a console, the words of another program.
    #[serde(default)]
    pub detail: Vec<String>,
}

impl Fault {
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: Vec::new(),
        }
    }

    pub fn with_detail(mut self, detail: impl IntoIterator<Item = String>) -> Self {
        self.detail.extend(detail);
        self
    }
}

impl FaultCode {
    /// What a failure of the host's files is: a full disk is told apart.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::HostIo,
        }
    }
}

/// What kind of failure it is, so that the engine can attach a code and a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultCode {
    /// The virtual machine monitor is not installed or cannot be executed.
    VmmMissing,
    /// The virtual machine monitor refused its command line or ended by itself.
    VmmFailed,
    /// The guest did not answer before its deadline.
    BootTimeout,
    /// The guest started and gave up (kernel panic, root disk not mountable).
    BootFailed,
    /// The guest or its monitor went away while it was in use.
    GuestDied,
    /// The other side speaks another protocol version, or nonsense.
    Protocol,
    /// No space is left on a disk of the host.
    NoSpace,
    /// A file or folder of the host could not be used.
    HostIo,
    /// The request cannot be carried out in the current state.
    Refused,
    /// As many of its kind are there as may be.
    TooMany,
    /// The VM is stopping or over. When its lock is free it may be started again.
    Over,
    /// The request is about something that is not there.
    NotFound,
    /// A path leads out of the workspace, or through something that is no folder.
    BadPath,
    /// Something is there that cannot be replaced, or it changed since it was looked at.
    Conflict,
    /// No space is left on the guest's disk.
    GuestNoSpace,
    /// The guest's kernel or file system refused.
    GuestIo,
    /// A line is longer than the terminal that it was typed into takes.
    LineTooLong,
    /// The guest has no such user, or cannot have it.
    UnknownUser,
    /// A code of a newer version.
    #[serde(other)]
    Unknown,
}
