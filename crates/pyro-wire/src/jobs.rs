//! Jobs: commands that belong to the shim of their VM, so that they go on when their caller has gone.
//! What they write is in files of this host from the first byte on.
//!
//! ```text
//! engine ─ JobStart, attached ▶ shim ── Exec ──▶ agent
//!                               │ output
//!                               ▼
//!        FOLDER/job-N.stdout, job-N.stderr; at its end job-N.json, a [`JobEnd`]
//!
//! the connection ends          ▶ the command is ended
//! JobControl::Detach            ▶ the command goes on without the connection
//! ```

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Bytes;
use crate::exec::{Exec, ExecEnd};

/// How many jobs a VM has at one time.
pub const MAX_JOBS: usize = 32;

/// How much the agent takes of a command's input before the command does. No job is given more, so
/// that what is said behind its input is always heard, read or not.
pub const READ_AHEAD: usize = 1024 * 1024;

/// How much of the end of a stream is told of which not everything is in its file.
pub const TAIL_BYTES: usize = 32 * 1024;

/// Starts a job. Until [`JobControl::Detach`] it ends with this connection. The answer is [`ShimReply::Done`](crate::shim::ShimReply::Done) once it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStart {
    /// Chosen by the asking side.
    pub job: u64,
    pub exec: Exec,
    /// What the command reads, where `exec.input` says that it does; [`READ_AHEAD`] at most.
    #[serde(default)]
    pub input: Bytes,
    /// Where its files are to be.
    pub folder: PathBuf,
    /// How much of each stream is kept.
    #[serde(rename = "most_bytes")]
    pub max_bytes: u64,
}

/// What the caller of a job may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobControl {
    /// The job goes on without this connection.
    #[serde(rename = "let_go")]
    Detach,
}

/// Waits until a job has written more than what was seen of it, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobWait {
    pub job: u64,
    /// Bytes of standard output and of standard error.
    pub seen: [u64; 2],
    #[serde(rename = "patience_ms")]
    pub timeout_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// How much was written to standard output and to standard error, kept or not.
    pub written: [u64; 2],
    #[serde(default)]
    pub end: Option<JobEnd>,
}

/// How a job came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    pub exec: ExecEnd,
    pub cause: JobCause,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// How much was written to standard output and to standard error, kept or not.
    pub written: [u64; 2],
    /// The end of each stream of which not everything was kept.
    #[serde(default)]
    pub tails: [Bytes; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobCause {
    /// Its own, or its time was over.
    Itself,
    /// Somebody asked for it.
    Asked,
    /// Its caller went away before it detached.
    #[serde(rename = "holder_gone")]
    CallerGone,
    /// Its VM was stopped.
    VmStopped,
    #[serde(other)]
    Unknown,
}

/// What the file names of every job begin with.
pub const JOB_FILE_PREFIX: &str = "job-";

/// The files of a job with what it wrote, standard output first.
pub fn output_files(job: u64) -> [String; 2] {
    ["stdout", "stderr"].map(|stream| format!("{JOB_FILE_PREFIX}{job}.{stream}"))
}

/// The file of a job that has ended: a [`JobEnd`] as JSON.
pub fn end_file(job: u64) -> String {
    format!("{JOB_FILE_PREFIX}{job}.json")
}
