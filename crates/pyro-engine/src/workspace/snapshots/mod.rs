//! States of a workspace that were kept under a name.
//!
//! On a disk a snapshot is a chain of layers that nobody writes to any more; the workspace goes on
//! in one above them. Layers are shared: a snapshot, those taken after it, and what a reset began
//! upon it stand on the same ones.
//!
//! What is written when, so that a kill at any moment leaves the one state or the other:
//!
//! - **create**: the record names the new layer first, while it is empty and in use or not shows
//!   nothing of its own; then the VM writes to it; then the record names the snapshot.
//! - **delete**: the record forgets the snapshot first. Layers that are not needed any more are
//!   debris then. One that only the layer above it needs is merged into that one, which shows the
//!   same before, meanwhile and afterwards.
//! - **reset**: see [`super::reset`].

pub(crate) mod chains;
pub(crate) mod create;
mod delete;
mod merge;
pub(crate) mod merge_folder;

use std::path::PathBuf;

use pyro_api::operations::workspace_reset::ResetSource;
use pyro_api::values::{BASELINE, Snapshot, SnapshotKind, WORKSPACE_PATH};
use pyro_api::{Error, ErrorCode};

use super::folder::WorkspaceFolder;
use crate::store::{StoredSnapshot, StoredWorkspace};

/// As many as can be told apart, and as a chain can have layers without hurting.
const MOST: usize = 250;

pub(crate) fn unknown_snapshot(stored: &StoredWorkspace, name: &str) -> Error {
    let mut known = vec![BASELINE];
    known.extend(stored.snapshots.iter().map(|known| known.name.as_str()));
    Error::new(
        ErrorCode::UnknownSnapshot,
        format!(
            "Workspace `{}` has no snapshot `{name}`",
            stored.record.workspace_id
        ),
    )
    .because(format!("it has {}", known.join(", ")))
    .hint("`pyro workspace snapshot list` (`snapshot_list`) shows them; `baseline` is the first state")
}

/// A snapshot as callers see it.
pub(crate) fn shown(stored: &StoredWorkspace, snapshot: &StoredSnapshot) -> Snapshot {
    Snapshot {
        workspace_id: stored.record.workspace_id.clone(),
        snapshot_name: snapshot.name.clone(),
        kind: SnapshotKind::Named,
        created_at: snapshot.created_at,
        entry_count: snapshot.entry_count,
        bytes_written: snapshot.bytes_written,
        deletable: true,
    }
}

/// All of them, the baseline first, then the newest first.
pub(crate) fn all_shown(stored: &StoredWorkspace) -> Vec<Snapshot> {
    let seed = &stored.record.workspace_seed;
    let baseline = Snapshot {
        workspace_id: stored.record.workspace_id.clone(),
        snapshot_name: BASELINE.to_owned(),
        kind: SnapshotKind::Baseline,
        created_at: stored.record.created_at,
        entry_count: seed.entry_count,
        bytes_written: seed.bytes_written,
        deletable: false,
    };
    let mut named: Vec<Snapshot> = stored
        .snapshots
        .iter()
        .map(|snapshot| shown(stored, snapshot))
        .collect();
    named.sort_by(|one, other| {
        let newest_first = other.created_at.total_cmp(&one.created_at);
        newest_first.then_with(|| one.snapshot_name.cmp(&other.snapshot_name))
    });
    std::iter::once(baseline).chain(named).collect()
}

/// What a workspace can be reset to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Baseline,
    Named(Box<StoredSnapshot>),
}

impl Target {
    pub(crate) fn find(stored: &StoredWorkspace, name: &str) -> Result<Self, Error> {
        match (name, stored.snapshot(name)) {
            (BASELINE, _) => Ok(Self::Baseline),
            (_, Some(snapshot)) => Ok(Self::Named(Box::new(snapshot.clone()))),
            (name, None) => Err(unknown_snapshot(stored, name)),
        }
    }

    /// Its layers, bottom first.
    pub(crate) fn layers(&self, stored: &StoredWorkspace) -> Vec<String> {
        match self {
            Self::Baseline => stored.baseline().to_vec(),
            Self::Named(snapshot) => snapshot.layers.clone(),
        }
    }

    /// Its copy of the files, where there is no disk.
    pub(crate) fn tree(&self, folder: &WorkspaceFolder) -> PathBuf {
        match self {
            Self::Named(snapshot) if snapshot.tree.is_some() => folder
                .trees()
                .join(snapshot.tree.as_deref().unwrap_or_default()),
            _ => folder.baseline_tree(),
        }
    }

    pub(crate) fn source(&self, stored: &StoredWorkspace) -> ResetSource {
        let seed = &stored.record.workspace_seed;
        match self {
            Self::Baseline => ResetSource {
                snapshot_name: BASELINE.to_owned(),
                kind: SnapshotKind::Baseline,
                destination: seed.destination.clone(),
                entry_count: seed.entry_count,
                bytes_written: seed.bytes_written,
            },
            Self::Named(snapshot) => ResetSource {
                snapshot_name: snapshot.name.clone(),
                kind: SnapshotKind::Named,
                destination: WORKSPACE_PATH.to_owned(),
                entry_count: snapshot.entry_count,
                bytes_written: snapshot.bytes_written,
            },
        }
    }

    /// In words, behind "reset".
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Baseline => "to the baseline".to_owned(),
            Self::Named(snapshot) => format!("to snapshot `{}`", snapshot.name),
        }
    }
}
