//! What a patch says, as it was written: sections, hunks, lines.

use std::collections::BTreeSet;

use super::PatchError;
use super::binary::{Binary, ObjectIds};
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
    pub(super) ids: Option<ObjectIds>,
    /// Old and new: no file is there, if the hunk's numbers say so, too.
    pub(super) perhaps_absent: [bool; 2],
    /// Of `*** Begin Patch`: a deletion is of the whole file, and what is added is not there.
    pub(super) outright: bool,
    /// Properties that Subversion keeps beside a file, which are left out.
    pub(super) properties: Vec<&'t [u8]>,
    pub(super) hunks: Vec<Hunk<'t>>,
    pub(super) binary: Option<Binary>,
}

/// The names of a rename or a copy; git writes them without prefixes.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) from: Label,
    pub(super) to: Label,
}

#[derive(Debug, Default)]
pub(super) struct Hunk<'t> {
    /// Of the patch, counted from 1.
    pub(super) line: usize,
    /// Empty when there was none.
    pub(super) header: &'t [u8],
    pub(super) range: Option<HunkRange>,
    /// What stands behind the numbers: a function's name, as a rule.
    pub(super) heading: &'t [u8],
    /// Of `*** Begin Patch`: lines of the file, in this order, behind which it is.
    pub(super) anchors: Option<Vec<&'t [u8]>>,
    /// Rather at the end of the file than elsewhere.
    pub(super) at_end: bool,
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
            paths.extend(label.folder_of_prefix());
            paths.extend(label.whole());
            paths.extend(readings);
        }
        Ok(())
    }
}

impl Section<'_> {
    /// The names that decide which files it is about; of a rename or a copy only its own.
    pub(super) fn names(&self) -> impl Iterator<Item = &Label> {
        let moved = [&self.renamed, &self.copied].into_iter().flatten();
        let moved = moved.flat_map(|moved| [&moved.from, &moved.to]);
        let sides = [&self.old, &self.new].into_iter().flatten();
        let is_moved = self.renamed.is_some() || self.copied.is_some();
        moved.chain(sides.filter(move |_| !is_moved))
    }

    pub(super) fn names_mut(&mut self) -> impl Iterator<Item = &mut Label> {
        let moved = [&mut self.renamed, &mut self.copied].into_iter().flatten();
        let moved = moved.flat_map(|moved| [&mut moved.from, &mut moved.to]);
        moved.chain([&mut self.old, &mut self.new].into_iter().flatten())
    }

    /// Says that its file goes.
    pub(super) fn deletes(&self) -> bool {
        self.deleted_mode.is_some() || self.new == Some(Label::Absent)
    }

    pub(super) fn has_content(&self) -> bool {
        !self.hunks.is_empty() || self.binary.is_some()
    }

    /// Whether it says, in whatever way, that only one side is there.
    pub(super) fn is_one_sided(&self) -> bool {
        self.created_mode.is_some()
            || self.deleted_mode.is_some()
            || [&self.old, &self.new]
                .map(Option::as_ref)
                .contains(&Some(&Label::Absent))
    }

    /// Makes a side that is said to be absent so, when the numbers agree.
    pub(super) fn settle(&mut self) {
        let [hunk] = self.hunks.as_slice() else {
            return;
        };
        let Some(range) = hunk.range else {
            return;
        };
        if self.perhaps_absent[0] && range.old_count == 0 {
            self.old = Some(Label::Absent);
        } else if self.perhaps_absent[1] && range.new_count == 0 {
            self.new = Some(Label::Absent);
        }
    }

    /// Whether all that it takes away is this one line, without an end.
    pub(super) fn shows_whole(&self, line: &[u8]) -> bool {
        let [hunk] = self.hunks.as_slice() else {
            return false;
        };
        let mut old = hunk
            .lines
            .iter()
            .filter(|line| line.kind != LineKind::Added);
        let first = old.next();
        first.is_some_and(|old| old.kind == LineKind::Removed && old.unended && old.text == line)
            && old.next().is_none()
            && hunk.lines.iter().all(|line| line.unended)
    }

    /// A head without anything that it could be the head of.
    pub(super) fn says_nothing(&self) -> bool {
        !self.has_content()
            && self.properties.is_empty()
            && self.renamed.is_none()
            && self.copied.is_none()
            && self.created_mode.is_none()
            && self.deleted_mode.is_none()
            && self.new_mode.is_none()
            && self.old != Some(Label::Absent)
            && self.new != Some(Label::Absent)
    }
}

impl<'t> Hunk<'t> {
    /// Lines above it that tell places apart, from the outermost on.
    pub(super) fn headings(&self) -> &[&'t [u8]] {
        match &self.anchors {
            Some(anchors) => anchors,
            None if self.heading.is_empty() => &[],
            None => std::slice::from_ref(&self.heading),
        }
    }

    pub(super) fn only_adds(&self) -> bool {
        self.lines.iter().all(|line| line.kind == LineKind::Added)
    }
}
