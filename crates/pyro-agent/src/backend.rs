//! Which of the shim's backends the agent runs on, which decides what it may touch.
//!
//! ```text
//!            everything in it   its kernel   its disk
//! Vm         ours               ours         ours
//! Sandbox    ours               the host's   the host's, through its kernel
//! Files      its files          the host's   the host's
//! Process    a folder           the host's   the host's
//! ```

use std::path::PathBuf;

use pyro_wire::agent::AgentRequest;
use pyro_wire::fault::{Fault, FaultCode};

/// The workspace, as commands see it.
pub(crate) const WORKSPACE: &str = "/workspace";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// PID 1 of a guest: everything is ours, its kernel, clock and disk too.
    Vm,
    /// PID 1 of a gVisor sandbox: its processes, files and name are ours. Its kernel is a program
    /// of the host, with the host's clock and random numbers, and it has no disk of its own.
    Sandbox,
    /// A program of the host whose root is the disk of a sandbox, which may run beside it: the files
    /// are ours, and nothing else is.
    Files,
    /// An ordinary process of the host: only `folder` is ours, in place of [`WORKSPACE`].
    Process { folder: PathBuf },
}

impl Backend {
    /// Whether everything around the agent is the guest's: it has to be set up before it is used,
    /// and what is changed in it is nobody else's.
    pub(crate) fn is_guest(&self) -> bool {
        match self {
            Self::Vm | Self::Sandbox | Self::Files => true,
            Self::Process { .. } => false,
        }
    }

    /// Refuses what would execute something, or lead out, where only files are served.
    pub(crate) fn serves(&self, request: &AgentRequest) -> Result<(), Fault> {
        use AgentRequest as Asked;
        match (self, request) {
            (Self::Vm | Self::Sandbox | Self::Process { .. }, Asked::TakeLine) => Err(Fault::new(
                FaultCode::Refused,
                "no lines are passed to an agent that executes commands",
            )),
            (Self::Vm | Self::Sandbox | Self::Process { .. }, _) => Ok(()),
            (
                Self::Files,
                Asked::SetUp(_)
                | Asked::About
                | Asked::Ping
                | Asked::Freeze(_)
                | Asked::StayFrozen(_)
                | Asked::Thaw
                | Asked::List(_)
                | Asked::Read(_)
                | Asked::Change(_)
                | Asked::Export(_)
                | Asked::Diff(_)
                | Asked::TakeLine
                | Asked::LastUse
                | Asked::ShutDown,
            ) => Ok(()),
            (Self::Files, _) => Err(Fault::new(
                FaultCode::Refused,
                "only files are served here: nothing of this disk is executed, and nothing can be \
                 connected to",
            )),
        }
    }
}
