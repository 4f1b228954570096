//! Finds where the old lines of a hunk are in a file, from strict to lenient.
//!
//! ```text
//! exact ─ other line ends ─ other white space at line ends ─ less context ─ other indentation
//! ```
//!
//! The first step that fits anywhere decides. The stated line wins; elsewhere a hunk must fit once,
//! or much nearer to the stated line than anywhere else. The last two steps take the stated line or a
//! single fit.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

use crate::budget::{Budget, Exhausted};
use crate::text::{Text, indentation, is_blank, without_cr};

/// Cost of a line that is trimmed or hashed, next to one comparison.
const INDEX_COST: u64 = 8;
/// A fit away from the stated line is taken when the next one is so many times further.
const CLEARLY_NEARER: usize = 4;
/// Named when a hunk fits in many places.
pub(crate) const PLACES_SHOWN: usize = 8;
/// How far above a hunk its heading is looked for.
const HEADING_REACH: usize = 2_000;

/// How much two lines may differ and count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Exact,
    LineEnds,
    TrailingSpace,
    Spaces,
}

impl Level {
    fn normal(self, line: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Exact => Cow::Borrowed(line),
            Self::LineEnds => Cow::Borrowed(without_cr(line)),
            Self::TrailingSpace => Cow::Borrowed(line.trim_ascii_end()),
            Self::Spaces => {
                let mut words = line
                    .split(u8::is_ascii_whitespace)
                    .filter(|word| !word.is_empty());
                let mut normal = words.next().unwrap_or_default().to_vec();
                for word in words {
                    normal.push(b' ');
                    normal.extend_from_slice(word);
                }
                Cow::Owned(normal)
            }
        }
    }
}

/// Old lines, and what is known about where they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'h> {
    pub(crate) lines: &'h [&'h [u8]],
    /// Counted from 0; may be before the file or behind it.
    pub(crate) stated: Option<isize>,
    /// Hunks come in order.
    pub(crate) after: Option<usize>,
    /// Lines above that tell places apart, from the outermost on.
    pub(crate) headings: &'h [&'h [u8]],
    /// Takes nothing above this, when there is something below.
    pub(crate) from: usize,
    pub(crate) at_end: bool,
    /// Takes nothing but a single fit.
    pub(crate) single: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    At(usize),
    Nowhere,
    /// Counted from 0.
    Ambiguous(Vec<usize>),
}

/// A file that is searched, with an index for each level that was needed.
#[derive(Debug)]
pub(crate) struct Searched {
    text: Text,
    indexes: Vec<(Level, Index)>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Index {
    /// Of each line. Keyed by chance and 64 bits long, so equal keys are equal lines.
    keys: Vec<u64>,
    by_key: Vec<(u64, u32)>,
}

impl Searched {
    pub(crate) fn new(text: Text) -> Self {
        Self {
            text,
            indexes: Vec::new(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn text(&self) -> &Text {
        &self.text
    }

    pub(crate) fn into_text(self) -> Text {
        self.text
    }

    /// Where the lines are, among the places that `free` allows.
    pub(crate) fn find(
        &mut self,
        level: Level,
        wanted: Wanted<'_>,
        budget: &mut Budget,
        free: impl Fn(usize) -> bool,
    ) -> Result<Found, Exhausted> {
        if wanted.lines.is_empty() || wanted.lines.len() > self.text.len() {
            return Ok(Found::Nowhere);
        }
        budget.spend(wanted.lines.len())?;
        let last = self.text.len() - wanted.lines.len();
        let allowed = |start: usize| (!wanted.at_end || start == last) && free(start);
        // A file that a patch was made for is never indexed.
        let stated = wanted
            .stated
            .and_then(|stated| usize::try_from(stated).ok());
        if let Some(stated) = stated.filter(|stated| *stated <= last)
            && allowed(stated)
            && self.fits(level, wanted.lines, stated)
        {
            return Ok(Found::At(stated));
        }
        let mut places = self.places(level, wanted.lines, budget)?;
        places.retain(|place| allowed(*place));
        self.choose(places, wanted, budget)
    }

    fn fits(&self, level: Level, lines: &[&[u8]], start: usize) -> bool {
        lines
            .iter()
            .enumerate()
            .all(|(index, line)| level.normal(line) == level.normal(self.text.line(start + index)))
    }

    /// Every place where all lines fit, in order.
    fn places(
        &mut self,
        level: Level,
        lines: &[&[u8]],
        budget: &mut Budget,
    ) -> Result<Vec<usize>, Exhausted> {
        let keys: Vec<u64> = lines
            .iter()
            .map(|line| self.hasher.hash_one(level.normal(line)))
            .collect();
        let index = self.index(level, budget)?;
        // The rarest line leaves the fewest places to look at.
        let rarest = keys
            .iter()
            .enumerate()
            .map(|(at, key)| (at, index.lines_with(*key)))
            .min_by_key(|(_, lines)| lines.len());
        let Some((at, anchors)) = rarest else {
            return Ok(Vec::new());
        };
        let mut places = Vec::new();
        for (_, anchor) in anchors {
            let Some(start) = (*anchor as usize).checked_sub(at) else {
                continue;
            };
            let Some(there) = index.keys.get(start..start + keys.len()) else {
                continue;
            };
            let same = keys.iter().zip(there).take_while(|(a, b)| a == b).count();
            budget.spend(same + 1)?;
            if same == keys.len() {
                places.push(start);
            }
        }
        Ok(places)
    }

    fn index(&mut self, level: Level, budget: &mut Budget) -> Result<&Index, Exhausted> {
        if let Some(known) = self.indexes.iter().position(|(known, _)| *known == level) {
            return Ok(&self.indexes[known].1);
        }
        budget.spend(self.text.len() * INDEX_COST as usize)?;
        let keys: Vec<u64> = (0..self.text.len())
            .map(|line| self.hasher.hash_one(level.normal(self.text.line(line))))
            .collect();
        let mut by_key: Vec<(u64, u32)> =
            (0..).zip(&keys).map(|(line, key)| (*key, line)).collect();
        by_key.sort_unstable();
        self.indexes.push((level, Index { keys, by_key }));
        let last = self.indexes.len() - 1;
        Ok(&self.indexes[last].1)
    }

    fn choose(
        &self,
        mut places: Vec<usize>,
        wanted: Wanted<'_>,
        budget: &mut Budget,
    ) -> Result<Found, Exhausted> {
        if let Some(after) = wanted.after
            && places.iter().any(|place| *place > after)
        {
            places.retain(|place| *place > after);
        }
        if places.iter().any(|place| *place >= wanted.from) {
            places.retain(|place| *place >= wanted.from);
        }
        match places.as_slice() {
            [] => return Ok(Found::Nowhere),
            [only] => return Ok(Found::At(*only)),
            _ => {}
        }
        if !wanted.single {
            if let Some(stated) = wanted.stated {
                let distance = |place: &usize| stated.abs_diff(*place as isize);
                let mut near = places.clone();
                near.sort_by_key(distance);
                if distance(&near[1]) >= CLEARLY_NEARER * distance(&near[0]).max(1) {
                    return Ok(Found::At(near[0]));
                }
            }
            if let [place] = self.under(&places, wanted.headings, budget)?.as_slice() {
                return Ok(Found::At(*place));
            }
        }
        places.truncate(PLACES_SHOWN);
        Ok(Found::Ambiguous(places))
    }

    /// The line behind the first in which these headings come, in order.
    pub(crate) fn behind(
        &self,
        headings: &[&[u8]],
        budget: &mut Budget,
    ) -> Result<Option<usize>, Exhausted> {
        budget.spend(self.text.len() * INDEX_COST as usize)?;
        let mut line = 0;
        for heading in headings {
            let rest = (line..self.text.len()).find(|at| self.is_headed(*at, heading));
            let Some(found) = rest else {
                return Ok(None);
            };
            line = found + 1;
        }
        Ok(Some(line))
    }

    /// The lines that are so headed.
    pub(crate) fn headed(
        &self,
        headings: &[&[u8]],
        budget: &mut Budget,
    ) -> Result<Vec<usize>, Exhausted> {
        budget.spend(self.text.len() * INDEX_COST as usize)?;
        let Some((own, outer)) = headings.split_last() else {
            return Ok(Vec::new());
        };
        let mut lines: Vec<usize> = (0..self.text.len())
            .filter(|line| self.is_headed(*line, own))
            .collect();
        if lines.len() > 1 {
            let under = self.under(&lines, outer, budget)?;
            if !under.is_empty() {
                lines = under;
            }
        }
        // The whole line, where only its beginning is more than one.
        let whole = |line: &usize| self.text.line(*line).trim_ascii() == *own;
        if lines.len() > 1 && lines.iter().any(whole) {
            lines.retain(whole);
        }
        Ok(lines)
    }

    fn is_headed(&self, line: usize, heading: &[u8]) -> bool {
        self.text.line(line).trim_ascii().starts_with(heading)
    }

    /// Those of the places above which the headings are (lines that begin a function, as a rule).
    fn under(
        &self,
        places: &[usize],
        headings: &[&[u8]],
        budget: &mut Budget,
    ) -> Result<Vec<usize>, Exhausted> {
        let mut under = Vec::new();
        if headings.is_empty() {
            return Ok(under);
        }
        for place in places {
            let mut above = Some(*place);
            for heading in headings.iter().rev() {
                above = match above {
                    Some(place) => self.heading_above(place, heading, budget)?,
                    None => break,
                };
            }
            under.extend(above.map(|_| *place));
        }
        Ok(under)
    }

    fn heading_above(
        &self,
        place: usize,
        heading: &[u8],
        budget: &mut Budget,
    ) -> Result<Option<usize>, Exhausted> {
        let mut least = usize::MAX;
        for at in (place.saturating_sub(HEADING_REACH)..place).rev() {
            budget.spend(INDEX_COST as usize)?;
            let line = self.text.line(at);
            let words = line.trim_ascii();
            if words.is_empty() || words == b"{" {
                continue;
            }
            let depth = indentation(line).len();
            if words.starts_with(heading) {
                return Ok((depth < least).then_some(at));
            }
            least = least.min(depth);
            // What is as far out as a line can be has no heading further out.
            if least == 0 {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

impl Index {
    fn lines_with(&self, key: u64) -> &[(u64, u32)] {
        let start = self.by_key.partition_point(|(other, _)| *other < key);
        let rest = &self.by_key[start..];
        &rest[..rest.partition_point(|(other, _)| *other == key)]
    }
}

/// Whether lines say enough to be found by them with less than all of their context.
pub(crate) fn is_telling(lines: &[&[u8]]) -> bool {
    lines.iter().filter(|line| !is_blank(line)).count() >= 2
}
