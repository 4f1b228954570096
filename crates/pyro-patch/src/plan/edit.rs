//! One file under its hunks.
//!
//! Each hunk is looked for in the file as it was before all of them, as the format has it; only
//! when it is not there, in what the earlier hunks made of it.

use std::collections::BTreeMap;

use super::indent::Reindent;
use super::place::{Found, Level, PLACES_SHOWN, Searched, Wanted, is_telling};
use crate::budget::{Budget, Exhausted};
use crate::error::HunkReason;
use crate::nearest::nearest;
use crate::note::Leniency;
use crate::parse::section::{Hunk, Line, LineKind};
use crate::text::{Text, shown, without_cr};

/// Outer lines of context that may differ, at each end.
const LESS_CONTEXT: usize = 2;

#[derive(Debug)]
pub(crate) struct Draft {
    file: Searched,
    /// By the line of the file before which they begin.
    edits: BTreeMap<usize, Edit>,
    /// How much later lines stand than the patch says, by hunks that were carried out already...
    carried_out: isize,
    /// ... and as the last hunk was found.
    drift: isize,
    last: Option<usize>,
}

#[derive(Debug, Default)]
struct Edit {
    removed: usize,
    added: Vec<AddedLine>,
    /// A hunk spoke about the end of the old file, so the new end is as it says.
    marked: bool,
}

#[derive(Debug)]
struct AddedLine {
    text: Vec<u8>,
    /// Gets a carriage return before the line feed.
    cr: bool,
    unended: bool,
}

/// Where a hunk went.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) leniency: Option<Leniency>,
}

pub(crate) enum HunkError {
    Reason(HunkReason),
    Exhausted,
}

impl From<Exhausted> for HunkError {
    fn from(Exhausted: Exhausted) -> Self {
        Self::Exhausted
    }
}

/// The lines of a hunk that take part, and how they were found.
struct Fit<'h, 't> {
    lines: &'h [Line<'t>],
    start: usize,
    level: Level,
    leniency: Option<Leniency>,
}

impl Draft {
    pub(crate) fn new(content: Vec<u8>) -> Self {
        Self {
            file: Searched::new(Text::new(content)),
            edits: BTreeMap::new(),
            carried_out: 0,
            drift: 0,
            last: None,
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.carry_out();
        self.file.into_text().into_bytes()
    }

    pub(crate) fn apply(
        &mut self,
        hunk: &Hunk<'_>,
        budget: &mut Budget,
    ) -> Result<Applied, HunkError> {
        if hunk.only_adds() {
            return self.append(hunk, budget);
        }
        let mut ambiguous = None;
        loop {
            match self.place(hunk, budget)? {
                Ok(fit) => return Ok(self.note(hunk, fit)),
                Err(places) => ambiguous = ambiguous.or(places),
            }
            if self.edits.is_empty() {
                break;
            }
            budget.spend(self.file.text().len())?;
            self.carry_out();
        }
        Err(HunkError::Reason(match ambiguous {
            Some(places) => ambiguity(hunk, &places),
            None => self.why_not(hunk, budget),
        }))
    }

    /// Lines without any around them have a place in an empty file, and where `*** Begin Patch` says
    /// more: behind an anchor, or at the end.
    fn append(&mut self, hunk: &Hunk<'_>, budget: &mut Budget) -> Result<Applied, HunkError> {
        let is_empty = self.file.text().len() == 0 && self.edits.is_empty();
        let anchors = hunk.anchors.as_deref().unwrap_or_default();
        let start = if is_empty {
            0
        } else if hunk.at_end {
            self.file.text().len()
        } else if anchors.is_empty() {
            let for_empty = hunk
                .range
                .is_some_and(|range| range.old_start == 0 && range.old_count == 0);
            return Err(HunkError::Reason(match for_empty {
                true => HunkReason::NotEmpty {
                    file_lines: self.file.text().len(),
                },
                false => HunkReason::NoContext,
            }));
        } else {
            let lines = self.file.headed(anchors, budget)?;
            let [line] = lines.as_slice() else {
                return Err(HunkError::Reason(match lines.is_empty() {
                    true => HunkReason::NoAnchor {
                        anchor: anchors.last().map(|line| shown(line)).unwrap_or_default(),
                    },
                    false => ambiguity(hunk, &lines),
                }));
            };
            line + 1
        };
        let fit = Fit {
            lines: &hunk.lines,
            start,
            level: if is_empty {
                Level::Exact
            } else {
                Level::LineEnds
            },
            leniency: None,
        };
        Ok(self.note(hunk, fit))
    }

    /// The first way in which the hunk fits, or the places between which nothing decides.
    fn place<'h, 't>(
        &mut self,
        hunk: &'h Hunk<'t>,
        budget: &mut Budget,
    ) -> Result<Result<Fit<'h, 't>, Option<Vec<usize>>>, Exhausted> {
        let anchors = hunk.anchors.as_deref().unwrap_or_default();
        let behind = match anchors {
            [] => Some(0),
            anchors => self.file.behind(anchors, budget)?,
        };
        // The anchor may come again as the hunk's own first line.
        let from = behind.map(|line| line.saturating_sub(1));
        let mut found = self.place_from(hunk, from.unwrap_or(0), budget)?;
        if let Ok(fit) = &mut found
            && fit.leniency.is_none()
            && !anchors.is_empty()
        {
            let is_behind = from.is_some_and(|from| fit.start >= from);
            fit.leniency = (!is_behind).then_some(Leniency::Anchor);
        }
        if let Ok(fit) = &mut found
            && fit.leniency.is_none()
            && hunk.at_end
        {
            let ends = fit.start + old_lines(fit.lines).len() == self.file.text().len();
            fit.leniency = (!ends).then_some(Leniency::NotAtEnd);
        }
        Ok(found)
    }

    /// Rather from a line on than above it.
    fn place_from<'h, 't>(
        &mut self,
        hunk: &'h Hunk<'t>,
        from: usize,
        budget: &mut Budget,
    ) -> Result<Result<Fit<'h, 't>, Option<Vec<usize>>>, Exhausted> {
        let all = hunk.lines.as_slice();
        let steps = [
            (Level::Exact, None),
            (Level::LineEnds, Some(Leniency::LineEnds)),
            (Level::TrailingSpace, Some(Leniency::TrailingSpace)),
        ];
        for (level, leniency) in steps {
            match self.find(hunk, all, 0, from, (level, false), budget)? {
                Found::At(start) => {
                    return Ok(Ok(Fit {
                        lines: all,
                        start,
                        level,
                        leniency,
                    }));
                }
                Found::Ambiguous(places) => return Ok(Err(Some(places))),
                Found::Nowhere => {}
            }
        }
        for (front, back) in less_context(all) {
            let lines = &all[front..all.len() - back];
            let level = Level::TrailingSpace;
            if let Found::At(start) = self.find(hunk, lines, front, from, (level, true), budget)? {
                return Ok(Ok(Fit {
                    lines,
                    start,
                    level,
                    leniency: Some(Leniency::LessContext),
                }));
            }
        }
        let level = Level::Spaces;
        if is_telling(&old_lines(all))
            && let Found::At(start) = self.find(hunk, all, 0, from, (level, true), budget)?
            && self.reindented(all, start).is_some()
        {
            return Ok(Ok(Fit {
                lines: all,
                start,
                level,
                leniency: Some(Leniency::Indentation),
            }));
        }
        Ok(Err(None))
    }

    fn find(
        &mut self,
        hunk: &Hunk<'_>,
        lines: &[Line<'_>],
        left_out: usize,
        from: usize,
        (level, single): (Level, bool),
        budget: &mut Budget,
    ) -> Result<Found, Exhausted> {
        let old = old_lines(lines);
        let stated = hunk.range.map(|range| {
            let shift = self.carried_out + self.drift + left_out as isize;
            range.old_start as isize - 1 + shift
        });
        let wanted = Wanted {
            lines: &old,
            stated,
            after: self.last,
            headings: hunk.headings(),
            from,
            at_end: hunk.lines.iter().any(|line| line.unended),
            single,
        };
        let edits = &self.edits;
        let length = old.len();
        let free = |start| is_free(edits, start, start + length);
        if hunk.at_end {
            let at_end = Wanted {
                at_end: true,
                ..wanted
            };
            if let Found::At(start) = self.file.find(level, at_end, budget, free)? {
                return Ok(Found::At(start));
            }
        }
        self.file.find(level, wanted, budget, free)
    }

    /// Puts the hunk's changes among the edits.
    fn note(&mut self, hunk: &Hunk<'_>, fit: Fit<'_, '_>) -> Applied {
        let reindent = match fit.level {
            Level::Spaces => self.reindented(fit.lines, fit.start),
            _ => None,
        };
        let mut reindented = reindent.into_iter().flatten();
        let marked = hunk
            .lines
            .iter()
            .any(|line| line.kind != LineKind::Added && line.unended);
        let mut at = fit.start;
        // Changed lines without context between them are one edit.
        let mut run = None;
        for line in fit.lines {
            if line.kind == LineKind::Context {
                at += 1;
                run = None;
                continue;
            }
            let key = *run.get_or_insert(at);
            if line.kind == LineKind::Removed {
                at += 1;
                self.edits.entry(key).or_default().removed += 1;
            } else {
                let text = reindented.next().unwrap_or_else(|| line.text.to_vec());
                let added = self.added(text, fit.level, key, line.unended);
                self.edits.entry(key).or_default().added.push(added);
            }
            self.edits.entry(key).or_default().marked |= marked;
        }
        let stated = hunk
            .range
            .map(|range| range.old_start as isize - 1 + self.carried_out);
        let offset = stated.map(|stated| fit.start as isize - stated);
        let drifted = offset.filter(|offset| *offset != 0 && fit.leniency.is_none());
        if fit.lines.len() == hunk.lines.len() && !hunk.only_adds() {
            self.drift = offset.unwrap_or(self.drift);
        }
        self.last = Some(fit.start);
        Applied {
            line: fit.start + 1,
            leniency: fit
                .leniency
                .or(drifted.filter(|_| !hunk.only_adds()).map(Leniency::Offset)),
        }
    }

    /// An added line ends as its neighbours do, where the hunk did not fit to the byte.
    fn added(&self, text: Vec<u8>, level: Level, at: usize, unended: bool) -> AddedLine {
        let file = self.file.text();
        let ends_with_cr = |line: usize| {
            let has_end = line + 1 < file.len() || (line < file.len() && file.ended());
            has_end.then(|| file.line(line).ends_with(b"\r"))
        };
        let neighbour = ends_with_cr(at).or_else(|| at.checked_sub(1).and_then(ends_with_cr));
        match neighbour {
            Some(cr) if level != Level::Exact => AddedLine {
                text: without_cr(&text).to_vec(),
                cr,
                unended,
            },
            _ => AddedLine {
                text,
                cr: false,
                unended,
            },
        }
    }

    /// The added lines, indented as the file is; `None` when that cannot be told.
    fn reindented(&self, lines: &[Line<'_>], start: usize) -> Option<Vec<Vec<u8>>> {
        let old = old_lines(lines);
        let pairs = old
            .iter()
            .enumerate()
            .map(|(index, line)| (*line, self.file.text().line(start + index)));
        let reindent = Reindent::learn(pairs)?;
        lines
            .iter()
            .filter(|line| line.kind == LineKind::Added)
            .map(|line| reindent.apply(line.text))
            .collect()
    }

    /// Makes the edits' result the file.
    fn carry_out(&mut self) {
        let edits = std::mem::take(&mut self.edits);
        let file = self.file.text();
        let mut out = Vec::new();
        // The end of a line is written only when another follows, or when the file shall end so.
        let mut end: &[u8] = b"";
        let mut ended = true;
        let mut delta = 0;
        let mut kept = 0;
        let past_the_end = (file.len(), Edit::default());
        for (at, edit) in edits.into_iter().chain([past_the_end]) {
            if kept < at {
                out.extend_from_slice(end);
                out.extend_from_slice(file.lines(kept..at));
                ended = at < file.len() || file.ended();
                let crlf = !ended && at > 1 && file.line(at - 2).ends_with(b"\r");
                end = if crlf { b"\r\n" } else { b"\n" };
            }
            for line in &edit.added {
                out.extend_from_slice(end);
                out.extend_from_slice(&line.text);
                ended = !line.unended && (edit.marked || file.ended());
                end = if line.cr { b"\r\n" } else { b"\n" };
            }
            delta += edit.added.len() as isize - edit.removed as isize;
            kept = at.max(kept) + edit.removed;
        }
        if ended {
            out.extend_from_slice(end);
        }
        self.carried_out += delta;
        self.file = Searched::new(Text::new(out));
        self.last = None;
    }

    fn why_not(&mut self, hunk: &Hunk<'_>, budget: &mut Budget) -> HunkReason {
        let new: Vec<&[u8]> = hunk
            .lines
            .iter()
            .filter(|line| line.kind != LineKind::Removed)
            .map(|line| line.text)
            .collect();
        let adds = |line: &Line<'_>| line.kind == LineKind::Added && !line.text.is_empty();
        if hunk.lines.iter().any(adds) && is_telling(&new) {
            let wanted = Wanted {
                lines: &new,
                stated: None,
                after: None,
                headings: &[],
                from: 0,
                at_end: false,
                single: true,
            };
            let found = self
                .file
                .find(Level::TrailingSpace, wanted, budget, |_| true);
            if let Ok(Found::At(line)) = found {
                return HunkReason::Applied { line: line + 1 };
            }
        }
        let old = old_lines(&hunk.lines);
        HunkReason::NotFound {
            wanted: old.iter().map(|line| shown(line)).collect(),
            nearest: nearest(self.file.text(), &old),
            file_lines: self.file.text().len(),
        }
    }
}

/// Places are counted from 0.
fn ambiguity(hunk: &Hunk<'_>, places: &[usize]) -> HunkReason {
    HunkReason::Ambiguous {
        places: places
            .iter()
            .take(PLACES_SHOWN)
            .map(|place| place + 1)
            .collect(),
        numbered: hunk.anchors.is_none(),
    }
}

/// Whether no edit is within the lines, so that the file and its result agree about them.
fn is_free(edits: &BTreeMap<usize, Edit>, start: usize, end: usize) -> bool {
    let before = edits.range(..start).next_back();
    let overlaps = before.is_some_and(|(at, edit)| at + edit.removed > start);
    let starts_on = edits.get(&start).is_some_and(|edit| edit.removed > 0);
    !overlaps && !starts_on && edits.range(start + 1..=end).next().is_none()
}

fn old_lines<'t>(lines: &[Line<'t>]) -> Vec<&'t [u8]> {
    lines
        .iter()
        .filter(|line| line.kind != LineKind::Added)
        .map(|line| line.text)
        .collect()
}

/// How many lines to leave out at both ends, least first.
fn less_context(lines: &[Line<'_>]) -> Vec<(usize, usize)> {
    let context = |line: &&Line<'_>| line.kind == LineKind::Context;
    let front = lines.iter().take_while(context).count().min(LESS_CONTEXT);
    let back = lines
        .iter()
        .rev()
        .take_while(context)
        .count()
        .min(LESS_CONTEXT);
    let mut ways: Vec<(usize, usize)> = (0..=front)
        .flat_map(|front| (0..=back).map(move |back| (front, back)))
        .filter(|(front, back)| {
            let left = lines
                .get(*front..lines.len().saturating_sub(*back))
                .unwrap_or_default();
            front + back > 0
                && (left.iter().any(|line| line.kind == LineKind::Removed)
                    || is_telling(&old_lines(left)))
        })
        .collect();
    ways.sort_by_key(|(front, back)| (front + back, *front.max(back)));
    ways
}
