//! Which lines of a file are replaced by which, found in bounded time whatever the lines are, and
//! always with the same answer for the same files (so with a bound on work, not a clock).
//!
//! Short stretches go to imara-diff. It takes minutes for long ones of a few different lines, so
//! those are first cut at lines that both sides have exactly once. What is too long even so counts
//! as replaced.

use std::collections::HashMap;
use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput};

/// Lines of both sides that are compared at once.
const STRETCH: usize = 5_000;
/// Lines of both sides that are compared in all.
const ALL: usize = 400_000;

/// Lines counted from 0, in order. What is between is equal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) old: Range<usize>,
    pub(crate) new: Range<usize>,
}

pub(crate) fn changes(old: &[&[u8]], new: &[&[u8]]) -> Vec<Change> {
    let mut found = Found {
        old,
        new,
        left: ALL,
        changes: Vec::new(),
    };
    let all = found.trimmed(0..old.len(), 0..new.len());
    if all.lines() <= STRETCH {
        found.compare(all);
        return found.changes;
    }
    let end = (all.old.end, all.new.end);
    let anchors = anchors(old, new, &all);
    let (mut old_at, mut new_at) = (all.old.start, all.new.start);
    for (old_anchor, new_anchor) in anchors.into_iter().chain([end]) {
        let between = found.trimmed(old_at..old_anchor, new_at..new_anchor);
        found.compare(between);
        (old_at, new_at) = (old_anchor + 1, new_anchor + 1);
    }
    found.changes
}

struct Found<'l> {
    old: &'l [&'l [u8]],
    new: &'l [&'l [u8]],
    /// Lines that may still be compared.
    left: usize,
    changes: Vec<Change>,
}

impl Change {
    fn lines(&self) -> usize {
        self.old.len() + self.new.len()
    }
}

impl Found<'_> {
    /// The stretch without what is equal at its front and back.
    fn trimmed(&self, old: Range<usize>, new: Range<usize>) -> Change {
        let (old_lines, new_lines) = (&self.old[old.clone()], &self.new[new.clone()]);
        let same = |(a, b): &(&&[u8], &&[u8])| a == b;
        let front = old_lines.iter().zip(new_lines).take_while(same).count();
        let back = old_lines[front..]
            .iter()
            .rev()
            .zip(new_lines[front..].iter().rev())
            .take_while(same)
            .count();
        Change {
            old: old.start + front..old.end - back,
            new: new.start + front..new.end - back,
        }
    }

    fn compare(&mut self, stretch: Change) {
        let lines = stretch.lines();
        if lines == 0 {
            return;
        }
        if stretch.old.is_empty() || stretch.new.is_empty() || lines > STRETCH.min(self.left) {
            self.changes.push(stretch);
            return;
        }
        self.left -= lines;
        let mut input = InternedInput::default();
        input.update_before(self.old[stretch.old.clone()].iter().copied());
        input.update_after(self.new[stretch.new.clone()].iter().copied());
        let mut diff = Diff::compute(Algorithm::Histogram, &input);
        diff.postprocess_lines(&input);
        let moved =
            |lines: Range<u32>, by: usize| lines.start as usize + by..lines.end as usize + by;
        self.changes.extend(diff.hunks().map(|hunk| Change {
            old: moved(hunk.before, stretch.old.start),
            new: moved(hunk.after, stretch.new.start),
        }));
    }
}

/// The lines that each side has once, as many as stand in the same order on both.
fn anchors(old: &[&[u8]], new: &[&[u8]], within: &Change) -> Vec<(usize, usize)> {
    #[derive(Default)]
    struct Seen {
        old: Option<usize>,
        new: Option<usize>,
        again: bool,
    }
    let mut seen: HashMap<&[u8], Seen> = HashMap::new();
    for line in within.old.clone() {
        let seen = seen.entry(old[line]).or_default();
        seen.again |= seen.old.replace(line).is_some();
    }
    for line in within.new.clone() {
        let seen = seen.entry(new[line]).or_default();
        seen.again |= seen.new.replace(line).is_some();
    }
    let mut pairs: Vec<(usize, usize)> = seen
        .into_values()
        .filter(|seen| !seen.again)
        .filter_map(|seen| Some((seen.old?, seen.new?)))
        .collect();
    pairs.sort_unstable();
    longest_rising(&pairs)
}

/// The longest run of pairs whose second numbers rise as the first ones do.
fn longest_rising(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // For each length, the pair with the lowest end so far; and for each pair the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (index, (_, second)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| pairs[*end].1 < *second);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut run = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(index) = next {
        run.push(pairs[index]);
        next = before[index];
    }
    run.reverse();
    run
}
