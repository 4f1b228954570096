//! The shim's control socket: one [`ShimRequest`], one [`ShimReply`], and after
//! [`ShimReply::Bridged`] the connection is a stream to the agent (see [`crate::agent`]).

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::launch::Running;

/// File name of the socket inside the VM's folder. Connect to it through the folder's
/// descriptor (`/proc/self/fd/N/…`), as socket addresses hold only 108 bytes.
pub const CONTROL_SOCKET: &str = "control.sock";

/// File name of the lock that the shim, and its VMM, hold for as long as the VM lives.
pub const LIVENESS_LOCK: &str = "alive.lock";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShimRequest {
    Status,
    /// Make this connection a stream to the agent.
    Agent,
    Stop(Stop),
    /// Let a VM that nobody uses stand still, without using the host's processors.
    Pause,
    /// Let a VM that stood still go on, for somebody.
    HandOut(HandOut),
}

/// What a VM that waited learns when it is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOut {
    /// When the VM ends by itself: milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// Ends the VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// How long the guest may take to flush its disk; 0 pulls the plug, which is right for a VM
    /// whose disk is thrown away.
    pub grace_ms: u64,
    /// Remove the VM's folder as well.
    pub remove: bool,
    /// Answer as soon as the VMM was killed: no instruction of the guest runs any more, and what is
    /// left to do is the shim's business.
    #[serde(default)]
    pub at_once: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShimReply {
    Status(Status),
    Bridged,
    /// The VMM has ended, and the folder is removed if that was asked; with `at_once` both are on
    /// their way.
    Stopped,
    /// It is paused, or handed out.
    Done,
    Failed(Fault),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub running: Running,
    pub shim_pid: u32,
    pub vmm_pid: Option<u32>,
    /// Connections bridged to the agent right now.
    pub connections: u32,
}
