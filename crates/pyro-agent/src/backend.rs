//! Which of the shim's backends the agent runs on, which decides what it may touch.
//!
//! ```text
//!            everything in it   its kernel   its disk
//! Vm         ours               ours         ours
//! Sandbox    ours               the host's   the host's, through its kernel
//! Process    a folder           the host's   the host's
//! ```

use std::path::PathBuf;

/// The workspace, as commands see it.
pub(crate) const WORKSPACE: &str = "/workspace";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// PID 1 of a guest: everything is ours, its kernel, clock and disk too.
    Vm,
    /// PID 1 of a gVisor sandbox: its processes, files and name are ours. Its kernel is a program
    /// of the host, with the host's clock and random numbers, and it has no disk of its own.
    Sandbox,
    /// An ordinary process of the host: only `folder` is ours, in place of [`WORKSPACE`].
    Process { folder: PathBuf },
}

impl Backend {
    /// Whether everything around the agent is the guest's: it has to be set up before it is used,
    /// and what is changed in it is nobody else's.
    pub(crate) fn is_guest(&self) -> bool {
        match self {
            Self::Vm | Self::Sandbox => true,
            Self::Process { .. } => false,
        }
    }
}
