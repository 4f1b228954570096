//! Which of the shim's backends the agent runs on, which decides what it may touch.

use std::path::PathBuf;

/// The workspace, as commands see it.
pub(crate) const WORKSPACE: &str = "/workspace";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// PID 1 of a guest: everything is ours.
    Vm,
    /// An ordinary process of the host: only `folder` is ours, in place of [`WORKSPACE`].
    Process { folder: PathBuf },
}
