//! Requests to the guest agent. Each stream starts with one [`AgentRequest`] and serves it alone.
//!
//! ```text
//! SetUp     ▶ reply: AgentReply::Ready
//! Prepare   ▶ reply: AgentReply::Done, when everything is on the disk and nothing runs any more
//! About     ▶ reply: AgentReply::Ready, at any time
//! StepClock ▶ reply: AgentReply::Done, in a guest that is set up
//! Refresh   ▶ reply: AgentReply::Ready, when clock and random numbers are of now
//! Ping      ▶ reply: AgentReply::Done
//! ShutDown  ▶ reply: AgentReply::Done, when everything acknowledged is on the disk
//! Freeze    ▶ reply: AgentReply::Done, when the disk is consistent and takes no writes
//! StayFrozen ▶ reply: AgentReply::Done, when it has been frozen all the time and stays so
//! Thaw      ▶ reply: AgentReply::Done
//! FreeMemory ▶ reply: AgentReply::Done, when a process was killed, or none had to be
//! InstallSecrets ▶ reply: AgentReply::Done, in a guest that is set up
//! TakeLine  ▶ reply: AgentReply::Done, when the line that came over the channel has ended
//! List, Read, Change, Place, Export, Diff: see [`crate::files`]
//! Shell: see [`crate::shells`]
//! Service…, Connect, LastUse: see [`crate::service`]
//! Exec, ExecAtTerminal: see [`crate::exec`]
//! ```
//!
//! Any request may be answered with [`AgentReply::Failed`]. When the asking side goes away (its
//! stream ends), the agent ends what the stream was running.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Bytes;
use crate::exec::{Command, Exec, ExecAtTerminal};
use crate::fault::Fault;
use crate::files::{Change, Diff, Export, List, Place, Read};
use crate::secrets::InstallSecrets;
use crate::service::{Connect, ServiceLogs, ServiceStart, ServiceStop, ServiceWatch};
use crate::shells::ShellRequest;
use crate::step::Lap;

/// The first message on a stream to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentRequest {
    SetUp(SetUp),
    Prepare(Prepare),
    About,
    StepClock(StepClock),
    Ping,
    FreeMemory(FreeMemory),
    Exec(Exec),
    ExecAtTerminal(ExecAtTerminal),
    Freeze(Freeze),
    /// Counts the time anew.
    StayFrozen(Freeze),
    Thaw,
    List(List),
    Read(Read),
    Change(Change),
    Place(Place),
    Export(Export),
    Diff(Diff),
    ShutDown,
    Refresh(Refresh),
    ServiceStart(ServiceStart),
    ServiceStop(ServiceStop),
    ServiceList,
    ServiceLogs(ServiceLogs),
    ServiceWatch(ServiceWatch),
    ServicesEnd,
    Connect(Connect),
    LastUse,
    /// Serves a connected socket, whose descriptor came over the channel at the latest with this, as
    /// if it were a stream. For an agent that does nothing but serve files.
    TakeLine,
    InstallSecrets(InstallSecrets),
    Shell(ShellRequest),
}

/// The answer to a request, or to the start of an exec that could not begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentReply {
    Ready(Ready),
    Done,
    /// How long ago something in the guest was last in use that no connection shows, such as a
    /// service (0 while one runs) or a shell that wrote something. Absent when nothing ever was.
    Used {
        ms_ago: Option<u64>,
    },
    Failed(Fault),
}

/// What makes a waiting guest this guest. Sent once, before anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetUp {
    pub hostname: String,
    /// 32 lower-case hex digits for `/etc/machine-id`.
    pub machine_id: String,
    /// Wall clock of the host, nanoseconds since 1970.
    pub unix_time_ns: u64,
    /// Bytes of the host's random source, mixed into the guest's before anything runs.
    #[serde(with = "serde_bytes")]
    pub entropy: Vec<u8>,
    /// Tell in the answer when each step was reached.
    #[serde(default)]
    pub timings: bool,
    /// Variables of every command, shell and service, unless they are given others of these names.
    #[serde(default)]
    pub env: Vec<(Bytes, Bytes)>,
    /// Whose `/workspace` is, where it is root's: whoever runs commands there when nobody is named.
    #[serde(default)]
    pub user: Option<Bytes>,
    /// No guest of this one's has had the disk yet: what agents of others left on it is removed.
    #[serde(default)]
    pub new_disk: bool,
}

/// Brings a guest that was set up and then stood still back into the present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// Wall clock of the host, nanoseconds since 1970.
    pub unix_time_ns: u64,
    /// Bytes of the host's random source.
    #[serde(with = "serde_bytes")]
    pub entropy: Vec<u8>,
}

/// Brings a waiting guest as far as possible without making it a particular one: root disk
/// mounted, page cache filled. It then waits for [`SetUp`] again, and may be copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// Run one after the other to fill the page cache. Their output and their failure are ignored,
    /// and one that takes longer than [`WARM_UP_LIMIT`] is killed.
    #[serde(default)]
    pub warm_up: Vec<Command>,
}

/// How long one command of [`Prepare`] may run.
pub const WARM_UP_LIMIT: Duration = Duration::from_secs(30);

/// What the agent writes to the guest's console when it has noticed that a host has gone, and
/// waits for the next. From here on the guest may be frozen.
pub const WAITING: &str = "pyro-agent: waiting for a host";

/// Writes everything to the disk and holds further writes back, so that the disk can be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// After this many milliseconds writes go on by themselves, whatever became of the host.
    pub thaw_after_ms: u64,
}

/// Kills the process of a sandbox that uses most memory, if all together still use more than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeMemory {
    pub limit_bytes: u64,
}

/// Who the agent is, and how far the guest has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub agent_version: String,
    /// The guest's kernel, as `uname -r` prints it.
    pub kernel_release: String,
    /// Milliseconds since the guest's kernel started.
    pub uptime_ms: u64,
    /// The guest's wall clock when it answered, nanoseconds since 1970; none outside of a guest.
    #[serde(default)]
    pub unix_time_ns: Option<u64>,
    /// The steps of a set-up, where they were asked for.
    #[serde(default)]
    pub laps: Vec<Lap>,
}

/// Corrects the wall clock by what it was found to be wrong. A difference stays right however long
/// it takes to arrive, which a time does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepClock {
    /// Nanoseconds, forward where positive.
    pub by_ns: i64,
}
