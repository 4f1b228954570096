//! The shim's control socket: one [`ShimRequest`], one [`ShimReply`], and after
//! [`ShimReply::Bridged`] the connection is a stream to an agent (see [`crate::agent`]).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::jobs::{JobStart, JobState, JobWait};
use crate::launch::{DiskLayer, Running};
use crate::service::ServiceState;

/// File name of the socket inside the VM's folder. Connect to it through the folder's
/// descriptor (`/proc/self/fd/N/…`), as socket addresses hold only 108 bytes.
pub const CONTROL_SOCKET: &str = "control.sock";

/// Name of the folder, inside the VM's, with what a VM that was stopped left of its services:
/// [`SERVICES_INDEX`], and `N.stdout` and `N.stderr` for each instance `N` that wrote something.
pub const SERVICES_FOLDER: &str = "services";

/// File name of the [`KeptService`]s, as a JSON list; written last.
pub const SERVICES_INDEX: &str = "index.json";

/// The last state of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptService {
    pub state: ServiceState,
    /// When it was asked for its state, in milliseconds since 1970.
    pub at_ms: u64,
    /// Its log is not whole.
    pub truncated: bool,
}

/// File name of the lock that the shim, and its VMM, hold for as long as the VM lives.
pub const LIVENESS_LOCK: &str = "alive.lock";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShimRequest {
    Status,
    /// Make this connection a stream to the agent.
    Agent,
    /// Make this connection a stream to who serves requests about files ([`crate::files`]), which are
    /// all that may be asked on it: the agent, or beside a sandbox of gVisor's a program of the host.
    Files,
    /// Put an empty qcow2 layer, which exists already and is as large as the disk, on top of the
    /// running VM's root disk. The one that was written to until now is read only from here on.
    /// What lies below is whole only when whoever asks has frozen the guest before
    /// ([`Freeze`](crate::agent::Freeze)).
    ///
    /// After [`ShimReply::Failed`] the VM writes where it wrote before and the layer is not in use,
    /// except with [`FaultCode::GuestDied`](crate::fault::FaultCode::GuestDied): then the VM is
    /// over, and the layer belongs to its disk, as it may hold what the guest wrote last.
    AddLayer(DiskLayer),
    /// Begin to take a layer out of the running VM's root disk: neither the bottom one nor the one
    /// that is written to. What it holds moves into the layer above it, and the guest goes on
    /// meanwhile. [`ShimReply::Done`] says that it has begun; [`Status`] tells how far it is.
    ///
    /// At each moment both chains, with the layer and without what has moved already, show the
    /// same: whatever ends the VM in the middle, the disk is right with the layer in it.
    MergeLayer(PathBuf),
    /// Somebody works with the VM although no connection shows it: its idle time starts anew.
    Touch,
    Stop(Stop),
    /// Stop the processors of a VM that waits for somebody.
    Pause,
    /// Let a VM that was paused go on, for somebody.
    Lease(Lease),
    /// Bind ports of this host, for a service that is about to be started. They are served from when
    /// it is ready until it has ended, and given up when it does not appear.
    Publish(Publish),
    /// Give up the ports of this service.
    Unpublish {
        instance: u64,
    },
    /// See [`crate::jobs`].
    JobStart(JobStart),
    JobWait(JobWait),
    /// End a job and everything that it started, and answer when that has happened.
    JobStop {
        job: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The service: see [`ServiceStart`](crate::service::ServiceStart).
    pub instance: u64,
    pub ports: Vec<WantedPort>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedPort {
    /// Any free one when absent.
    #[serde(default)]
    pub host_port: Option<u16>,
    pub guest_port: u16,
}

/// A port of 127.0.0.1 that leads to one of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub host_port: u16,
    pub guest_port: u16,
}

/// What a standby VM learns when somebody takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// When the VM ends by itself: milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// Ends the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    Status(Box<Status>),
    Bridged,
    /// What was asked has happened.
    Done,
    /// The VMM has ended, and the folder is removed if that was asked; with `at_once` both are on
    /// their way.
    Stopped,
    /// In the order in which they were asked for.
    Published(Vec<Published>),
    Job(Box<JobState>),
    Failed(Fault),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub running: Running,
    pub shim_pid: u32,
    pub vmm_pid: Option<u32>,
    /// Connections bridged to the agent right now.
    pub connections: u32,
    /// When the last connection ended or the last [`ShimRequest::Touch`] came, in milliseconds
    /// since 1970. While there are connections, now.
    #[serde(default)]
    pub last_activity_ms: u64,
    /// The root disk as it is now, bottom layer first. Empty where there is none.
    #[serde(default)]
    pub disk: Vec<DiskLayer>,
    /// Why the guest stands still, such as a full disk of the host. It goes on by itself, or the
    /// VM ends.
    #[serde(default)]
    pub standstill: Option<String>,
    /// The layer that is being taken out of the disk.
    #[serde(default)]
    pub merging: Option<PathBuf>,
    /// Why the last one could not be taken out; it belongs to the disk still.
    #[serde(default)]
    pub merge_failed: Option<String>,
}
