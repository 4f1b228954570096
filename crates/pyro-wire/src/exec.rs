//! Requests to run a command that belongs to its stream.
//!
//! ```text
//! Exec           ▶ frames Input and ExecControl messages one way,
//!                  frames Output and ErrorOutput the other, then one ExecEvent::Ended
//! ExecAtTerminal ▶ the same, with everything that the command writes in frames Output
//! ```

use serde::{Deserialize, Serialize};

use crate::Bytes;
use crate::fault::Fault;
use crate::shells::Size;
use crate::step::Lap;

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    pub command: Command,
    /// The folder to run in; the agent's default (`/workspace`) when absent.
    #[serde(default)]
    pub cwd: Option<Bytes>,
    /// Who runs it, as [`user`](crate::user) has it; root, without any look at the guest's files,
    /// when absent.
    #[serde(default)]
    pub user: Option<Bytes>,
    /// Variables beyond the agent's own PATH, HOME, TERM and LANG.
    #[serde(default)]
    pub env: Vec<(Bytes, Bytes)>,
    /// Secrets of the guest, each with the variable that shows it to the command. One that the
    /// guest does not have is refused.
    #[serde(default)]
    pub secret_env: Vec<(String, String)>,
    /// After this the command and everything that it started are ended, as by
    /// [`ExecControl::End`], and the end says `timed_out`.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Whether [`Kind::Input`](crate::frame::Kind::Input) frames will follow; without it the
    /// command reads from an empty file.
    #[serde(default)]
    pub input: bool,
    /// Tell at the end when each step was reached.
    #[serde(default)]
    pub timings: bool,
}

impl Exec {
    /// A command with the agent's folder and variables, no input, and as much time as it takes.
    pub fn new(command: Command) -> Self {
        Self {
            command,
            cwd: None,
            user: None,
            env: Vec::new(),
            secret_env: Vec::new(),
            timeout_ms: None,
            input: false,
            timings: false,
        }
    }
}

/// A command to run at a terminal of its own. What it reads is what is typed there, so
/// [`Exec::input`] means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecAtTerminal {
    pub exec: Exec,
    pub size: Size,
}

/// How the command was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A command line for a login shell.
    Shell(Bytes),
    /// A program and its arguments, run as they are.
    Program(Vec<Bytes>),
}

/// What the asking side may send while a command runs, beside its input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecControl {
    /// No more input will come.
    InputEnd,
    /// Send this signal to the command's process group.
    Signal(i32),
    /// End the command and everything that it started: ask first, kill after
    /// [`STOP_MS`](crate::service::STOP_MS).
    End,
    /// Its terminal has this size from now on.
    Resize(Size),
}

/// What the agent tells of a running command, beside its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecEvent {
    Started {
        pid: u32,
    },
    /// The last frame of the stream: all output of the command came before it.
    Ended(ExecEnd),
    Failed(Fault),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecEnd {
    /// The exit status; 128 + N after signal N, 124 after a timeout, 127 and 126 as shells do
    /// when a program is not there or cannot be executed.
    pub exit_code: i32,
    /// The signal that ended it, if one did.
    #[serde(default)]
    pub signal: Option<i32>,
    #[serde(default)]
    pub timed_out: bool,
    /// Whether the guest's kernel killed a process of it because memory ran out.
    #[serde(default)]
    pub oom_killed: bool,
    pub duration_ms: u64,
    /// The steps of the command, where they were asked for.
    #[serde(default)]
    pub laps: Vec<Lap>,
}
