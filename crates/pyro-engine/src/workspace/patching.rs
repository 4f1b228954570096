//! Carries a patch out: old contents are read, changes planned on this host, and made in the guest
//! in one step.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use pyro_api::operations::workspace_patch_apply::{
    PatchEntry, PatchFormat, PatchStatus, PatchSummary,
};
use pyro_api::{Error, ErrorCode};
use pyro_patch::{Format, MAX_FILE, Node, Patch, PatchError, Plan, Status, decode_mail};
use pyro_wire::Bytes;
use pyro_wire::fault::FaultCode;
use pyro_wire::files::{Change, EntryKind, Expected, Stamp};

use super::display::shown_absolute;
use super::files::{self, Content, FilesError, NewFile, Piece};
use super::repository_folder::USE_ITS_COMMANDS;
use super::repository_prefix::SEED_IN_REPOSITORY;
use crate::engine::Engine;
use crate::image_config;
use crate::machine::now;
use crate::store::StoredWorkspace;

/// What a patch did.
pub(crate) struct Applied {
    pub(crate) format: PatchFormat,
    pub(crate) entries: Vec<PatchEntry>,
    pub(crate) summary: PatchSummary,
    pub(crate) notes: Vec<String>,
}

impl Engine {
    pub(crate) async fn apply_patch(
        &self,
        stored: &StoredWorkspace,
        text: &[u8],
    ) -> Result<Applied, FilesError> {
        let text = decode_mail(text).map_err(|error| unfit(&error))?;
        let mut patch = Patch::parse(&text).map_err(|error| unfit(&error))?;
        let seed = self.folder_before_names(stored, &patch).await?;
        if let Some(folder) = seed {
            patch.strip_folder(folder).map_err(|error| unfit(&error))?;
        }
        let mut old = HashMap::new();
        let mut stamps = HashMap::new();
        let reads = patch.reads().map_err(|error| unfit(&error))?;
        for path in &reads {
            let (node, stamp) = self.node(stored, path, &reads).await?;
            stamps.insert(path.clone(), stamp);
            old.insert(path.clone(), node);
        }
        let Plan { changes, notes } = patch
            .plan(|path| old.get(path).cloned().unwrap_or(Node::Missing))
            .map_err(|error| unfit(&error))?;

        let mut change = Change {
            edit: true,
            user: image_config::user_to_wire(None, &stored.record.metadata),
            ..Change::default()
        };
        // What goes before something else comes; a folder only when it is empty then.
        let mut remove: BTreeSet<Vec<u8>> = BTreeSet::new();
        for one in &changes {
            let gives_way = |folder: &&[u8]| {
                old.get(*folder) == Some(&Node::Folder)
                    && changes
                        .iter()
                        .any(|other| other.path == **folder && other.after != Node::Missing)
            };
            if one.after == Node::Missing
                && let Some(replaced) = above(&one.path).find(gives_way)
            {
                let emptied = above(&one.path).take_while(|folder| folder.len() >= replaced.len());
                remove.extend(emptied.map(<[u8]>::to_vec));
            }
        }
        let mut new = Vec::new();
        let mut applied = Applied {
            format: match patch.format {
                Format::Unified => PatchFormat::Unified,
                Format::BeginPatch => PatchFormat::BeginPatch,
            },
            entries: Vec::new(),
            summary: PatchSummary::default(),
            notes: notes.iter().map(ToString::to_string).collect(),
        };
        for one in changes {
            // What becomes of a folder is the business of what is in it, and what is to be below
            // a file is that of the file.
            let is_file =
                |node: Option<&Node>| matches!(node, Some(Node::File { .. } | Node::Link { .. }));
            if let Some(stamp) = stamps.get(&one.path)
                && old.get(&one.path) != Some(&Node::Folder)
                && !above(&one.path).any(|folder| is_file(old.get(folder)))
            {
                change.expect.push(Expected {
                    path: Bytes::from(one.path.clone()),
                    stamp: *stamp,
                });
            }
            // A file does not take the place of a link by itself, nor a link that of a file.
            if let (Some(Node::File { .. }), Node::Link { .. })
            | (Some(Node::Link { .. }), Node::File { .. }) = (old.get(&one.path), &one.after)
            {
                remove.insert(one.path.clone());
            }
            let (content, mode) = match one.after {
                Node::File { content, mode } => (Some(Content::File(content)), mode),
                Node::Link { target } => (Some(Content::Symlink(target)), 0o777),
                _ => (None, 0),
            };
            let status = match one.status {
                Status::Added => PatchStatus::Added,
                Status::Modified => PatchStatus::Modified,
                Status::Deleted => PatchStatus::Deleted,
            };
            let summary = &mut applied.summary;
            summary.total += 1;
            *match status {
                PatchStatus::Added => &mut summary.added,
                PatchStatus::Modified => &mut summary.modified,
                PatchStatus::Deleted => &mut summary.deleted,
            } += 1;
            applied.entries.push(PatchEntry {
                path: shown_absolute(&one.path),
                status,
                renamed_from: one.renamed_from.as_deref().map(shown_absolute),
            });
            match content {
                Some(content) => new.push(NewFile {
                    name: one.path,
                    mode,
                    content,
                }),
                None => drop(remove.insert(one.path)),
            }
        }
        change.remove = remove.into_iter().map(Bytes::from).collect();
        if let Some(folder) = seed {
            applied.notes.push(format!(
                "names were read from the root of the seed's repository, as `workspace diff` and \
                 git write them: `{folder}/` was removed"
            ));
        }
        if !applied.entries.is_empty() {
            let line = self.reconnect_files(stored, "change the files").await?;
            let mtime_ns = (now() * 1e9) as i64;
            files::change(line, change, move |to| {
                files::archive_of(&new, mtime_ns, to)
            })
            .await?;
        }
        Ok(applied)
    }

    /// The folder of the seed in its repository, when the patch speaks of it. `None`, too, when
    /// `/workspace` has a folder of that name.
    async fn folder_before_names<'s>(
        &self,
        stored: &'s StoredWorkspace,
        patch: &Patch<'_>,
    ) -> Result<Option<&'s str>, FilesError> {
        let folder = stored.record.metadata.get(SEED_IN_REPOSITORY);
        let Some(folder) = folder.filter(|folder| patch.mentions_folder(folder)) else {
            return Ok(None);
        };
        // Below a file it is not there either.
        let way = above(folder.as_bytes()).map(<[u8]>::to_vec).collect();
        let (node, _) = self.node(stored, folder.as_bytes(), &way).await?;
        Ok((node == Node::Missing).then_some(folder))
    }

    /// What is at a path (a link is looked at itself), and what it looked like when it was read.
    /// Below what the patch `reads`, too, nothing is there yet when that is no folder: the patch may
    /// make it one, and if not, the guest refuses the change.
    async fn node(
        &self,
        stored: &StoredWorkspace,
        path: &[u8],
        reads: &BTreeSet<Vec<u8>>,
    ) -> Result<(Node, Option<Stamp>), FilesError> {
        let line = self.reconnect_files(stored, "read the files").await?;
        let asked = Bytes::from(path);
        let mut listed = match files::list(line, asked.clone(), false).await {
            Ok(listed) => listed,
            Err(FilesError::Refused { fault })
                if fault.code == FaultCode::NotFound
                    || (fault.code == FaultCode::BadPath
                        && above(path).any(|folder| reads.contains(folder))) =>
            {
                return Ok((Node::Missing, None));
            }
            Err(error) => return Err(error),
        };
        // A folder is told by what is in it.
        let Some(own) = listed.iter().position(|entry| entry.path == asked) else {
            return Ok((Node::Folder, None));
        };
        let entry = listed.swap_remove(own);
        match entry.meta.kind {
            EntryKind::Symlink => {
                let target = entry.meta.target.unwrap_or_default().into_vec();
                Ok((Node::Link { target }, Some(entry.stamp)))
            }
            EntryKind::Special => Ok((Node::Special, Some(entry.stamp))),
            EntryKind::Directory => Ok((Node::Folder, None)),
            EntryKind::File => {
                let line = self.reconnect_files(stored, "read the files").await?;
                let Piece { meta, stamp, bytes } =
                    files::read(line, asked, 0, MAX_FILE as u64 + 1).await?;
                let node = match bytes.len() {
                    0..=MAX_FILE => Node::File {
                        content: Arc::from(bytes),
                        mode: meta.mode,
                    },
                    _ => Node::TooLarge,
                };
                Ok((node, Some(stamp)))
            }
        }
    }
}

/// The folders above a path, from the nearest on.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..path.len())
        .rev()
        .filter(|at| path[*at] == b'/')
        .map(|at| &path[..at])
}

fn unfit(error: &PatchError) -> Error {
    let hint = match error {
        PatchError::Repository { .. } => USE_ITS_COMMANDS,
        PatchError::Outside { .. } => {
            "Leave out what is not below the seed's folder (`git diff --relative` there does). For \
             a new folder of that name in the workspace, write `/workspace/` before the name"
        }
        PatchError::Binary { .. } => {
            "Create the patch with `git diff --binary`, or copy the file in with `pyro workspace \
             sync push` (`workspace_sync_push`)"
        }
        PatchError::BinaryMismatch { .. } => {
            "Create the patch from the file as it is now, or copy the new file in with `pyro \
             workspace sync push` (`workspace_sync_push`)"
        }
        PatchError::NoSections | PatchError::Mixed { .. } | PatchError::SearchReplace { .. } => {
            "Give a unified diff, as `git diff` writes it, or a patch from `*** Begin Patch` to \
             `*** End Patch`"
        }
        _ => {
            "Read the file as it is now with `pyro workspace file read` (`workspace_file_read`) \
             and create the patch from that, or write the whole file with `file write` \
             (`workspace_file_write`)"
        }
    };
    Error::new(
        ErrorCode::PatchFailed,
        "The patch was not applied; nothing was changed",
    )
    .caused_by(error)
    .hint(hint)
}
