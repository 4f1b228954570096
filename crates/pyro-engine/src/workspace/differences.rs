//! What the guest says that changed, beside what the baseline on this host holds: entries and
//! patches.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use pyro_api::Caller;
use pyro_api::operations::workspace_diff::{DiffEntry, DiffStatus, DiffSummary, WorkspaceDiff};
use pyro_api::values::PatchBytes;
use pyro_disk::{Tree, TreeError};
use pyro_patch::{MAX_FILE, Side, binary_diff, text_diff};
use pyro_wire::files::{EntryKind, Meta};

use super::commits::Repository;
use super::display::{artifact_type, octal};
use super::files::Changed;
use super::repository_folder::{OwnFolders, folder_of_objects};
use crate::answers::{Budget, PATCHES};

/// Entries with their patches.
pub(crate) struct Compared {
    pub(crate) entries: Vec<DiffEntry>,
    pub(crate) summary: DiffSummary,
    pub(crate) patch: Vec<u8>,
    pub(crate) truncated: bool,
    /// Whether the patch holds all that one can hold.
    pub(crate) complete: bool,
    /// With what `skip` the next part begins.
    pub(crate) next_skip: Option<u64>,
    /// How many entries came by, in this part or not.
    passed: u64,
    /// Repositories that got objects.
    pub(crate) repositories: BTreeSet<Repository>,
}

/// Which of the entries are wanted, and how.
pub(crate) struct DiffPage {
    skip: u64,
    /// How many bytes their patches have together.
    max_bytes: usize,
    budget: Budget,
    /// Shows each patch once.
    for_model: bool,
    /// Whether what is no text has a patch, too.
    binary: bool,
    /// What stands before each name of a patch.
    prefix: String,
}

impl DiffPage {
    pub(crate) fn of(asked: &WorkspaceDiff, prefix: String, caller: &Caller) -> Self {
        Self {
            skip: asked.skip,
            max_bytes: max_bytes(asked, caller),
            budget: Budget::of(caller),
            for_model: caller.is_model(),
            binary: asked.binary,
            prefix,
        }
    }

    /// None of the entries: only what all of them are is wanted.
    pub(crate) fn nothing() -> Self {
        Self {
            skip: u64::MAX,
            max_bytes: 0,
            budget: Budget::unlimited(),
            for_model: false,
            binary: false,
            prefix: String::new(),
        }
    }
}

/// How much of a patch, or of a mailbox, is wanted.
pub(crate) fn max_bytes(asked: &WorkspaceDiff, caller: &Caller) -> usize {
    match asked.max_bytes {
        Some(bytes) => bytes.get() as usize,
        None if caller.is_model() => PATCHES,
        None => PatchBytes::default().get() as usize,
    }
}

/// Makes entries of what changed. Blocks.
pub(crate) fn compare(
    changed: impl Iterator<Item = Changed>,
    baseline: &Tree,
    mut part: DiffPage,
) -> Result<Compared, TreeError> {
    let mut compared = Compared {
        entries: Vec::new(),
        summary: DiffSummary::default(),
        patch: Vec::new(),
        truncated: false,
        complete: part.skip == 0,
        next_skip: None,
        repositories: BTreeSet::new(),
        passed: 0,
    };
    let mut own_folders = OwnFolders::new(baseline);
    // What lies in them comes last: a commit alone is a hundred objects, which nobody reviews.
    let mut in_repositories = InRepositories {
        objects: part.for_model.then(BTreeMap::new),
        entries: Vec::new(),
    };
    for one in changed {
        let Some(entry) = entry_of(&one) else {
            continue;
        };
        match own_folders.around(&one.entry)? {
            Some(own) => {
                let place = Repository::of_object(&one.entry.path, own);
                compared.repositories.extend(place);
                compared.summary.count(entry.status, false);
                in_repositories.take(entry, &one.entry.path, own);
            }
            None => {
                let patch = patch_of(&one, baseline, &part)?;
                compared.complete &= !matches!(patch, Err("binary" | "too_large"));
                let status = entry.status;
                let patched = compared.pass(entry, &patch, &mut part);
                compared.summary.count(status, patched);
            }
        }
    }
    for entry in in_repositories.into_entries() {
        compared.pass(entry, &Err("repository"), &mut part);
    }
    compared.complete &= !compared.truncated;
    Ok(compared)
}

/// What lies in repositories' own folders.
struct InRepositories {
    entries: Vec<DiffEntry>,
    /// For a model: the changed objects of each repository, as one entry.
    objects: Option<BTreeMap<Vec<u8>, DiffEntry>>,
}

impl InRepositories {
    fn take(&mut self, mut entry: DiffEntry, path: &[u8], own: &[u8]) {
        let folder = String::from_utf8_lossy(own).into_owned();
        if let Some(all) = &mut self.objects
            && let Some(objects) = folder_of_objects(path, own)
        {
            let status = entry.status;
            let one = all.entry(objects.to_vec()).or_insert_with(|| DiffEntry {
                path: String::from_utf8_lossy(objects).into_owned(),
                artifact_type: artifact_type(EntryKind::Directory),
                old_mode: None,
                new_mode: None,
                old_size_bytes: None,
                new_size_bytes: None,
                own_folder: Some(folder),
                stands_for: Some(0),
                ..entry
            });
            one.stands_for = one.stands_for.map(|count| count + 1);
            if one.status != status {
                one.status = DiffStatus::Modified;
            }
            return;
        }
        entry.own_folder = Some(folder);
        self.entries.push(entry);
    }

    fn into_entries(self) -> impl Iterator<Item = DiffEntry> {
        let objects = self.objects.unwrap_or_default();
        self.entries.into_iter().chain(objects.into_values())
    }
}

impl Compared {
    /// Takes the next entry in, if it is in this part. Says whether it has a patch, here or elsewhere.
    fn pass(
        &mut self,
        entry: DiffEntry,
        patch: &Result<Vec<u8>, &'static str>,
        part: &mut DiffPage,
    ) -> bool {
        let at = self.passed;
        self.passed += 1;
        let mut patched = patch.is_ok();
        if self.next_skip.is_none() && at >= part.skip {
            match self.show(entry, patch, part) {
                Some(shown) => patched = shown.no_patch_because.is_none(),
                None => self.next_skip = Some(at),
            }
        }
        self.truncated |= self.next_skip.is_some() && patched;
        patched
    }

    /// Takes the next entry in. `None`: this part ends before it.
    fn show(
        &mut self,
        mut entry: DiffEntry,
        patch: &Result<Vec<u8>, &'static str>,
        part: &mut DiffPage,
    ) -> Option<&DiffEntry> {
        let budget = part.max_bytes - self.patch.len();
        let mut shown = &[][..];
        match patch {
            Ok(patch) if patch.len() <= budget => {
                let text = String::from_utf8_lossy(patch);
                entry.not_utf8 = matches!(text, Cow::Owned(_));
                entry.text_patch = (!part.for_model).then(|| text.into_owned());
                shown = patch;
            }
            // It has its place in the next part, and so has all that comes after it: what fits by
            // chance would be in two parts, and the second one would not apply.
            Ok(patch) if patch.len() <= part.max_bytes => return None,
            // No part of this size fits it.
            Ok(_) => {
                entry.no_patch_because = Some("limit".to_owned());
                self.truncated = true;
            }
            Err(why) => entry.no_patch_because = Some((*why).to_owned()),
        }
        if !part.budget.fits(&entry) {
            return None;
        }
        self.patch.extend_from_slice(shown);
        self.entries.push(entry);
        self.entries.last()
    }
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
    // What became something else is told as such, and the bits of a link mean nothing.
    let modes = match (before, after) {
        (Some(before), Some(after))
            if before.kind == after.kind
                && after.kind != EntryKind::Symlink
                && before.mode != after.mode =>
        {
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
        own_folder: None,
        stands_for: None,
        not_utf8: false,
        old_mode: modes.0,
        new_mode: modes.1,
        old_size_bytes: size(before),
        new_size_bytes: size(after),
    })
}

/// The patch, or in a word why there is none.
fn patch_of(
    changed: &Changed,
    baseline: &Tree,
    part: &DiffPage,
) -> Result<Result<Vec<u8>, &'static str>, TreeError> {
    let entry = &changed.entry;
    // No patch has folders: what takes the place of an empty one is new, and what gives way to one
    // is gone.
    let told = |meta: &'_ Option<Meta>| {
        let meta = meta.as_ref();
        meta.filter(|meta| matches!(meta.kind, EntryKind::File | EntryKind::Symlink))
            .cloned()
    };
    let metas = [told(&entry.before), told(&entry.after)];
    if metas.iter().all(Option::is_none) {
        return Ok(Err("not_a_file"));
    }
    let too_large = |meta: &Option<Meta>| {
        let size = meta.as_ref().map_or(0, |meta| meta.size);
        size > MAX_FILE as u64
    };
    if metas.iter().any(too_large) {
        return Ok(Err("too_large"));
    }
    let [before, after] = &metas;
    let old = match before.as_ref().map(|meta| meta.kind) {
        Some(EntryKind::File) => baseline.read(&entry.path, MAX_FILE)?,
        Some(EntryKind::Symlink) => baseline.target(&entry.path)?,
        _ => Vec::new(),
    };
    let new = match after {
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
    let path = [part.prefix.as_bytes(), &entry.path].concat();
    let (before, after) = (side(before, &old), side(after, new));
    let patch = match part.binary {
        true => binary_diff(&path, before, after).ok_or("too_large"),
        false => text_diff(&path, before, after).ok_or("binary"),
    };
    Ok(match patch {
        Ok(patch) if patch.is_empty() => Err("mode"),
        patch => patch,
    })
}

trait Count {
    fn count(&mut self, status: DiffStatus, patched: bool);
}

impl Count for DiffSummary {
    fn count(&mut self, status: DiffStatus, patched: bool) {
        self.total += 1;
        *match status {
            DiffStatus::Added => &mut self.added,
            DiffStatus::Modified => &mut self.modified,
            DiffStatus::Deleted => &mut self.deleted,
            DiffStatus::TypeChanged => &mut self.type_changed,
        } += 1;
        *match patched {
            true => &mut self.text_patched,
            false => &mut self.non_text,
        } += 1;
    }
}
