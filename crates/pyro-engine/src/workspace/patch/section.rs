//! What a patch says, as it was written: sections, hunks, lines.

use std::collections::BTreeSet;

use super::PatchError;
use super::label::Label;

/// All that is said about one file.
#[derive(Debug, Default)]
pub(super) struct Section<'t> {
    /// Of the patch, counted from 1.
    pub(super) line: usize,
    /// Began with `diff --git`.
    pub(super) git: bool,
    /// `None`: no name was given for this side.
    pub(super) old: Option<Label>,
    pub(super) new: Option<Label>,
    pub(super) renamed: Option<Move>,
    pub(super) copied: Option<Move>,
    pub(super) created_mode: Option<u32>,
    pub(super) deleted_mode: Option<u32>,
    pub(super) old_mode: Option<u32>,
    pub(super) new_mode: Option<u32>,
    /// The mode on an `index` line, where both sides have the same.
    pub(super) index_mode: Option<u32>,
    pub(super) hunks: Vec<Hunk<'t>>,
}

/// The names of a rename or a copy; git writes them without prefixes.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) from: Label,
    pub(super) to: Label,
}

#[derive(Debug)]
pub(super) struct Hunk<'t> {
    /// Of the patch, counted from 1.
    pub(super) line: usize,
    /// Empty when there was none.
    pub(super) header: &'t [u8],
    pub(super) range: Option<HunkRange>,
    /// What stands behind the numbers: a function's name, as a rule.
    pub(super) heading: &'t [u8],
    pub(super) lines: Vec<Line<'t>>,
}

/// The numbers of a hunk's header; where it begins on the new side helps nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HunkRange {
    pub(super) old_start: usize,
    pub(super) old_count: usize,
    pub(super) new_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'t> {
    pub(super) kind: LineKind,
    /// Line feed left out, carriage return not.
    pub(super) text: &'t [u8],
    /// `\ No newline at end of file` follows.
    pub(super) unended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineKind {
    Context,
    Removed,
    Added,
}

impl Section<'_> {
    /// What follows about this section's paths is decided by what is there.
    pub(super) fn reads(&self, paths: &mut BTreeSet<Vec<u8>>) -> Result<(), PatchError> {
        let moved = [&self.renamed, &self.copied].into_iter().flatten();
        let labels = moved
            .flat_map(|moved| [&moved.from, &moved.to])
            .chain(self.old.iter())
            .chain(self.new.iter());
        for label in labels {
            let readings = label.readings(self.line)?;
            if let Some(folder) = label.folder_of_prefix() {
                paths.insert(folder);
            }
            paths.extend(readings);
        }
        Ok(())
    }
}

impl Section<'_> {
    /// Says that its file goes.
    pub(super) fn deletes(&self) -> bool {
        self.deleted_mode.is_some() || self.new == Some(Label::Absent)
    }

    /// A head without anything that it could be the head of.
    pub(super) fn says_nothing(&self) -> bool {
        self.hunks.is_empty()
            && self.renamed.is_none()
            && self.copied.is_none()
            && self.created_mode.is_none()
            && self.deleted_mode.is_none()
            && self.new_mode.is_none()
            && self.old != Some(Label::Absent)
            && self.new != Some(Label::Absent)
    }
}

impl Hunk<'_> {
    pub(super) fn only_adds(&self) -> bool {
        self.lines.iter().all(|line| line.kind == LineKind::Added)
    }
}
