//! What the store keeps of a workspace: its record, with its services, jobs and snapshots.
//!
//! Names of fields are those on disk.

use std::collections::BTreeMap;

use pyro_api::values::{ServiceRecord, WorkspaceRecord};
use serde::{Deserialize, Serialize};

use crate::workspace::selection::Selection;

/// A workspace's record, with what only the engine needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredWorkspace {
    pub(crate) record: WorkspaceRecord,
    /// The engine that is still making it; nobody else sees it before it is made.
    #[serde(skip)]
    pub(crate) maker: Option<String>,
    /// Which of its VM folders is its own; a reset makes the next.
    pub(crate) generation: u32,
    /// Its own disk layers, bottom first; the last one is written to.
    pub(crate) layers: Vec<String>,
    /// How many of them, from the bottom, make the baseline.
    pub(crate) baseline_layers: usize,
    /// The template whose disk layer lies below them.
    pub(crate) template: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) services: BTreeMap<String, StoredService>,
    /// Commands that go on without whoever started them, oldest first.
    #[serde(default)]
    pub(crate) jobs: Vec<StoredJob>,
    /// Its named snapshots, oldest first.
    #[serde(default)]
    pub(crate) snapshots: Vec<StoredSnapshot>,
    /// What of its sources is left out.
    #[serde(default)]
    pub(crate) selection: Selection,
}

/// A state that was kept under a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredSnapshot {
    pub(crate) name: String,
    pub(crate) created_at: f64,
    pub(crate) entry_count: u64,
    pub(crate) bytes_written: u64,
    /// Its disk: layers of the workspace, bottom first, of which no one is written to any more.
    #[serde(default)]
    pub(crate) layers: Vec<String>,
    /// In place of a disk, where commands run on the host: the name of a copy of the files.
    #[serde(default)]
    pub(crate) tree: Option<String>,
}

/// A command that runs, in the record of its workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredJob {
    /// By what its shim knows it, and its files are named.
    pub(crate) job: u64,
    pub(crate) sequence: u32,
    pub(crate) reset_count: u32,
    /// The VM that it runs in.
    pub(crate) generation: u32,
    pub(crate) started_at: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredService {
    pub(crate) record: ServiceRecord,
    /// What tells it from earlier ones of the same name, for the agent and as the name of its log
    /// files.
    pub(crate) instance: u64,
    /// Whether its log files are all that there is of its log, and whole.
    pub(crate) log: LogState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogState {
    /// The agent has it, as long as its VM lives.
    InGuest,
    Whole,
    Cut,
}
