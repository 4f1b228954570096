//! Jobs: commands whose caller is the shim of their VM, so that they go on when whoever wanted them
//! has gone. What they write is in files of this host from the first byte on.
//!
//! ```text
//! engine ── JobStart, held ──▶ shim ── Exec ──▶ agent
//!                               │ output
//!                               ▼
//!        FOLDER/job-N.stdout, job-N.stderr; at its end job-N.json, a [`JobEnd`]
//!
//! the connection ends          ▶ the command is ended
//! JobControl::LetGo            ▶ the command is the shim's own from here on
//! ```

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Bytes;
use crate::exec::{Exec, ExecEnd};

/// How many jobs a VM has at one time.
pub const MOST_JOBS: usize = 32;

/// How much of the end of a stream is told of which not everything is in its file.
pub const TAIL_BYTES: usize = 32 * 1024;

/// Starts a command that belongs to the shim, and until [`JobControl::LetGo`] to this connection,
/// too. The answer is [`ShimReply::Done`](crate::shim::ShimReply::Done) once it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStart {
    /// Chosen by the asking side.
    pub job: u64,
    pub exec: Exec,
    /// What the command reads, where `exec.input` says that it does.
    #[serde(default)]
    pub input: Bytes,
    /// Where its files are to be.
    pub folder: PathBuf,
    /// How much of each stream is kept.
    pub most_bytes: u64,
}

/// What the holder of a job may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobControl {
    /// The job goes on without this connection.
    LetGo,
}

/// Waits until a job has written more than what was seen of it, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobWait {
    pub job: u64,
    /// Bytes of standard output and of standard error.
    pub seen: [u64; 2],
    pub patience_ms: u64,
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
    /// It was not let go by whoever held it.
    HolderGone,
    /// Its VM was stopped.
    VmStopped,
    #[serde(other)]
    Unknown,
}

/// What the files of every job are called at their beginning.
pub const JOB_FILES: &str = "job-";

/// The files of a job with what it wrote, standard output first.
pub fn output_files(job: u64) -> [String; 2] {
    ["stdout", "stderr"].map(|stream| format!("{JOB_FILES}{job}.{stream}"))
}

/// The file of a job that has ended: a [`JobEnd`] as JSON.
pub fn end_file(job: u64) -> String {
    format!("{JOB_FILES}{job}.json")
}
