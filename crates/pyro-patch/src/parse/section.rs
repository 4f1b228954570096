//! What a patch says, as it was written: sections, hunks, lines.

use std::collections::BTreeSet;

use super::binary::{Binary, ObjectIds};
use super::label::Label;
use crate::error::PatchError;

/// All that is said about one file.
#[derive(Debug, Default)]
pub(crate) struct Section<'t> {
    /// Of the patch, counted from 1.
    pub(crate) line: usize,
    /// Began with `diff --git`.
    pub(crate) git: bool,
    /// `None`: no name was given for this side.
    pub(crate) old: Option<Label>,
    pub(crate) new: Option<Label>,
    pub(crate) renamed: Option<Move>,
    pub(crate) copied: Option<Move>,
    pub(crate) created_mode: Option<u32>,
    pub(crate) deleted_mode: Option<u32>,
    pub(crate) old_mode: Option<u32>,
    pub(crate) new_mode: Option<u32>,
    /// The mode on an `index` line, where both sides have the same.
    pub(crate) index_mode: Option<u32>,
    pub(crate) ids: Option<ObjectIds>,
    /// Old and new: no file is there, if the hunk's numbers say so, too.
    pub(crate) perhaps_absent: [bool; 2],
    /// Of `*** Begin Patch`: a deletion is of the whole file, and what is added is not there.
    pub(crate) outright: bool,
    /// Properties that Subversion keeps beside a file, which are left out.
    pub(crate) properties: Vec<&'t [u8]>,
    /// Lines of GNU diff beside the section: what is on one side only.
    pub(crate) one_sided: Vec<&'t [u8]>,
    pub(crate) hunks: Vec<Hunk<'t>>,
    pub(crate) binary: Option<Binary>,
}

/// The names of a rename or a copy; git writes them without prefixes.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) from: Label,
    pub(crate) to: Label,
}

#[derive(Debug, Default)]
pub(crate) struct Hunk<'t> {
    /// Of the patch, counted from 1.
    pub(crate) line: usize,
    /// Empty when there was none.
    pub(crate) header: &'t [u8],
    pub(crate) range: Option<HunkRange>,
    /// What stands behind the numbers: a function's name, as a rule.
    pub(crate) heading: &'t [u8],
    /// Of `*** Begin Patch`: lines of the file, in this order, behind which it is.
    pub(crate) anchors: Option<Vec<&'t [u8]>>,
    /// Rather at the end of the file than elsewhere.
    pub(crate) at_end: bool,
    /// How many lines of the old and of the new side its head says more than there are up to the end of
    /// the patch.
    pub(crate) missing: [usize; 2],
    pub(crate) lines: Vec<Line<'t>>,
}

/// The numbers of a hunk's header; where it begins on the new side helps nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HunkRange {
    pub(crate) old_start: usize,
    pub(crate) old_count: usize,
    pub(crate) new_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'t> {
    pub(crate) kind: LineKind,
    /// Line feed left out, carriage return not.
    pub(crate) text: &'t [u8],
    /// `\ No newline at end of file` follows.
    pub(crate) unended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    Context,
    Removed,
    Added,
}

impl Section<'_> {
    /// What follows about this section's paths is decided by what is there.
    pub(crate) fn reads(&self, paths: &mut BTreeSet<Vec<u8>>) -> Result<(), PatchError> {
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
    pub(crate) fn names(&self) -> impl Iterator<Item = &Label> {
        let moved = [&self.renamed, &self.copied].into_iter().flatten();
        let moved = moved.flat_map(|moved| [&moved.from, &moved.to]);
        let sides = [&self.old, &self.new].into_iter().flatten();
        let is_moved = self.renamed.is_some() || self.copied.is_some();
        moved.chain(sides.filter(move |_| !is_moved))
    }

    pub(crate) fn names_mut(&mut self) -> impl Iterator<Item = &mut Label> {
        let moved = [&mut self.renamed, &mut self.copied].into_iter().flatten();
        let moved = moved.flat_map(|moved| [&mut moved.from, &mut moved.to]);
        moved.chain([&mut self.old, &mut self.new].into_iter().flatten())
    }

    /// Says that its file goes.
    pub(crate) fn deletes(&self) -> bool {
        self.deleted_mode.is_some() || self.new == Some(Label::Absent)
    }

    pub(crate) fn has_content(&self) -> bool {
        !self.hunks.is_empty() || self.binary.is_some()
    }

    /// Whether it says, in whatever way, that only one side is there.
    pub(crate) fn is_one_sided(&self) -> bool {
        self.created_mode.is_some()
            || self.deleted_mode.is_some()
            || [&self.old, &self.new]
                .map(Option::as_ref)
                .contains(&Some(&Label::Absent))
    }

    /// Makes a side that is said to be absent so, when the numbers agree.
    pub(crate) fn settle(&mut self) {
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
    pub(crate) fn shows_whole(&self, line: &[u8]) -> bool {
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
    pub(crate) fn says_nothing(&self) -> bool {
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
    pub(crate) fn headings(&self) -> &[&'t [u8]] {
        match &self.anchors {
            Some(anchors) => anchors,
            None if self.heading.is_empty() => &[],
            None => std::slice::from_ref(&self.heading),
        }
    }

    pub(crate) fn only_adds(&self) -> bool {
        self.lines.iter().all(|line| line.kind == LineKind::Added)
    }
}
