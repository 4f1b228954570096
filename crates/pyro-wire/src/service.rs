//! Requests about services: commands that stay, with a name, a log and a readiness.
//!
//! ```text
//! ServiceStart ▶ ServiceReply::State, when the service is ready, or has ended before that
//! ServiceStop  ▶ ServiceReply::State, when its whole group is gone
//! ServiceList  ▶ ServiceReply::States
//! ServiceLogs  ▶ frames Output and ErrorOutput, where something is missing between them
//!                ServiceReply::LogLost, then ServiceReply::LogEnd
//! ServiceWatch ▶ ServiceReply::State when it is ready, and again when it has ended
//! ServicesEnd  ▶ for each service that there was: ServiceReply::State, its frames Output and
//!                ErrorOutput, ServiceReply::LogEnd; at last ServiceReply::Done. None runs any more,
//!                and none can be started
//! Connect      ▶ ConnectReply::Trying, where it takes a while; ConnectReply::Connected, and then the
//!                stream is the connection, both ways
//! LastUse      ▶ AgentReply::Used
//! ```
//!
//! Each may be answered by its `Failed` instead. A service outlives the stream that started it once
//! it is ready; until then it ends with it.

use serde::{Deserialize, Serialize};

use crate::Bytes;
use crate::exec::{Command, Exec};
use crate::fault::Fault;

/// How many bytes of each stream of a service the agent keeps: the newest ones.
pub const LOG_BYTES: usize = 1024 * 1024;

/// How many services an agent keeps. One more takes the place of the one that ended first.
pub const MAX_SERVICES: usize = 32;

/// How long a service may take to end by itself when it is asked to.
pub const STOP_MS: u64 = 5_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStart {
    pub name: String,
    /// Chosen by the asking side: what tells this service from all others, also from earlier ones of
    /// the same name.
    pub instance: u64,
    pub command: Command,
    /// As for [`Exec`](crate::exec::Exec).
    #[serde(default)]
    pub cwd: Option<Bytes>,
    #[serde(default)]
    pub user: Option<Bytes>,
    #[serde(default)]
    pub env: Vec<(Bytes, Bytes)>,
    #[serde(default)]
    pub secret_env: Vec<(String, String)>,
    /// How to see that it can be used; without it that is so from the start.
    #[serde(default)]
    pub readiness: Option<Readiness>,
    /// A service that is not ready after this is ended.
    pub ready_timeout_ms: u64,
    /// The longest pause between two looks.
    pub ready_interval_ms: u64,
}

impl ServiceStart {
    /// A command that runs as the service itself does.
    pub fn exec(&self, command: &Command) -> Exec {
        Exec {
            cwd: self.cwd.clone(),
            user: self.user.clone(),
            env: self.env.clone(),
            secret_env: self.secret_env.clone(),
            ..Exec::new(command.clone())
        }
    }
}

/// What shows that a service can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Something has this path, which is given as a folder to run in is.
    File(Bytes),
    /// Something accepts connections.
    Tcp { host: String, port: u16 },
    /// A GET of this is answered with 200 to 399, also where that leads elsewhere.
    Http(String),
    /// This succeeds.
    Command(Command),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStop {
    pub instance: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLogs {
    pub instance: u64,
    /// Only this many lines of each stream, from the end.
    #[serde(default)]
    pub tail_lines: Option<u64>,
    /// Go on until the service has ended.
    #[serde(default)]
    pub follow: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceWatch {
    pub instance: u64,
    /// How long it may take to appear.
    #[serde(rename = "patience_ms")]
    pub timeout_ms: u64,
}

/// Opens a connection to a port of the guest's loopback, IPv4 before IPv6. A server whose queue is
/// full is tried for as long as the guest's kernel does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectReply {
    /// The server has not answered yet. It may take its time, and the agent lives.
    Trying,
    Connected,
    Failed(Fault),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceReply {
    State(ServiceState),
    States(Vec<ServiceState>),
    /// So many bytes of a stream were written and forgotten before they could be sent.
    LogLost(u64),
    LogEnd {
        /// There was more than what was sent.
        truncated: bool,
    },
    Done,
    Failed(Fault),
}

/// A service as the agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    pub instance: u64,
    pub name: String,
    pub phase: ServicePhase,
    /// Its first process; 0 when there never was one.
    pub pid: u32,
    pub ready: bool,
    /// What the last look for its readiness saw instead.
    #[serde(default)]
    pub not_ready: Option<String>,
    /// The exit status, 128 + N after signal N; absent while it runs.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Why it ended, where it did not just exit.
    #[serde(default)]
    pub reason: Option<ServiceEnd>,
    /// Whether the guest's kernel killed a process of it because memory ran out.
    #[serde(default)]
    pub oom_killed: bool,
    /// How long ago it ended; absent while it runs.
    #[serde(default)]
    pub ended_ms_ago: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServicePhase {
    /// It runs, ready or not.
    Running,
    /// It ended by itself.
    Exited,
    /// It was asked to end.
    Stopped,
    /// It was never ready.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceEnd {
    ProcessExitedBeforeReady,
    ReadinessTimeout,
    /// It ended when it was asked to.
    Sigterm,
    /// It had to be killed.
    Sigkill,
    /// Everything was ended.
    WorkspaceStopped,
    #[serde(other)]
    Unknown,
}
