//! What the guest says that changed, beside what the baseline on this host holds: entries and
//! patches.

use pyro_api::operations::workspace_diff::{DiffEntry, DiffStatus, DiffSummary};
use pyro_wire::files::{EntryKind, Meta};

use super::files::Changed;
use super::text_diff::{MAX_SIDE, Side, text_diff};
use super::tree::{Tree, TreeError};
use super::words::{artifact_type, octal};

/// Entries with their patches.
pub(crate) struct Compared {
    pub(crate) entries: Vec<DiffEntry>,
    pub(crate) summary: DiffSummary,
    pub(crate) patch: String,
    pub(crate) truncated: bool,
}

/// Makes entries of what changed. Patches are left out once they have `max_bytes` together. Blocks.
pub(crate) fn compare(
    changed: Vec<Changed>,
    baseline: &Tree,
    max_bytes: usize,
) -> Result<Compared, TreeError> {
    let mut compared = Compared {
        entries: Vec::new(),
        summary: DiffSummary::default(),
        patch: String::new(),
        truncated: false,
    };
    for one in changed {
        let Some(mut entry) = entry_of(&one) else {
            continue;
        };
        match patch_of(&one, baseline)? {
            Ok(patch) if compared.patch.len() + patch.len() <= max_bytes => {
                compared.patch.push_str(&patch);
                entry.text_patch = Some(patch);
            }
            Ok(_) => {
                compared.truncated = true;
                entry.no_patch_because = Some("limit".to_owned());
            }
            Err(why) => entry.no_patch_because = Some(why.to_owned()),
        }
        compared.summary.count(&entry);
        compared.entries.push(entry);
    }
    Ok(compared)
}

fn entry_of(changed: &Changed) -> Option<DiffEntry> {
    let (before, after) = (&changed.entry.before, &changed.entry.after);
    let status = match (before, after) {
        (None, Some(_)) => DiffStatus::Added,
        (Some(_), None) => DiffStatus::Deleted,
        (Some(before), Some(after)) if before.kind != after.kind => DiffStatus::TypeChanged,
        (Some(_), Some(_)) => DiffStatus::Modified,
        (None, None) => return None,
    };
    let modes = match (before, after) {
        (Some(before), Some(after)) if before.mode != after.mode => {
            (Some(octal(before.mode)), Some(octal(after.mode)))
        }
        _ => (None, None),
    };
    let size = |meta: &Option<Meta>| {
        let file = meta.as_ref().filter(|meta| meta.kind == EntryKind::File);
        file.map(|meta| meta.size)
    };
    Some(DiffEntry {
        path: String::from_utf8_lossy(&changed.entry.path).into_owned(),
        status,
        artifact_type: artifact_type(after.as_ref().or(before.as_ref())?.kind),
        text_patch: None,
        no_patch_because: None,
        old_mode: modes.0,
        new_mode: modes.1,
        old_size_bytes: size(before),
        new_size_bytes: size(after),
    })
}

/// The patch, or in a word why there is none.
fn patch_of(changed: &Changed, baseline: &Tree) -> Result<Result<String, &'static str>, TreeError> {
    let entry = &changed.entry;
    let metas = [&entry.before, &entry.after];
    let kinds = metas.map(|meta| meta.as_ref().map(|meta| meta.kind));
    let has_patch =
        |kind: Option<EntryKind>| matches!(kind, None | Some(EntryKind::File | EntryKind::Symlink));
    if !kinds.into_iter().all(has_patch) {
        return Ok(Err("not_a_file"));
    }
    let too_large = |meta: &Option<Meta>| {
        let size = meta.as_ref().map_or(0, |meta| meta.size);
        size > MAX_SIDE as u64
    };
    if metas.into_iter().any(too_large) {
        return Ok(Err("too_large"));
    }
    let old = match kinds[0] {
        Some(EntryKind::File) => baseline.read(&entry.path, MAX_SIDE)?,
        Some(EntryKind::Symlink) => baseline.target(&entry.path)?,
        _ => Vec::new(),
    };
    let new = match &entry.after {
        // A file whose mode alone differs comes without its content.
        Some(meta) if meta.kind == EntryKind::File => match &changed.content {
            Some(content) => content.as_slice(),
            None => old.as_slice(),
        },
        Some(meta) => meta.target.as_deref().map_or(&[][..], Vec::as_slice),
        None => &[],
    };
    let side = |meta: &Option<Meta>, content| match meta {
        None => Side::Absent,
        Some(meta) if meta.kind == EntryKind::Symlink => Side::Link { target: content },
        Some(meta) => Side::File {
            content,
            mode: meta.mode,
        },
    };
    let (before, after) = (side(&entry.before, &old), side(&entry.after, new));
    Ok(text_diff(&entry.path, before, after).ok_or("binary"))
}

trait Count {
    fn count(&mut self, entry: &DiffEntry);
}

impl Count for DiffSummary {
    fn count(&mut self, entry: &DiffEntry) {
        self.total += 1;
        *match entry.status {
            DiffStatus::Added => &mut self.added,
            DiffStatus::Modified => &mut self.modified,
            DiffStatus::Deleted => &mut self.deleted,
            DiffStatus::TypeChanged => &mut self.type_changed,
        } += 1;
        *match entry.text_patch {
            Some(_) => &mut self.text_patched,
            None => &mut self.non_text,
        } += 1;
    }
}
