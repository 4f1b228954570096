//! Finds many needles in a stream of letters, each by the method of Knuth, Morris and Pratt, so
//! that no stream and no needle makes it slow: a letter costs as many steps as needles are under
//! way.

use std::collections::VecDeque;
use std::ops::Range;

use zeroize::Zeroizing;

/// What to look for.
#[derive(Default)]
pub(super) struct NeedleSet {
    needles: Vec<Needle>,
    /// Which needles begin with a letter; empty while there are none.
    beginning_with: Vec<Vec<usize>>,
}

struct Needle {
    letters: Zeroizing<Vec<u8>>,
    /// For each length of a found beginning, the length of the longest shorter one that the same
    /// letters end with.
    fall_back: Vec<u32>,
}

impl NeedleSet {
    pub(super) fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// Whether a needle begins with this letter.
    pub(super) fn begins(&self, letter: u8) -> bool {
        self.beginning_with
            .get(usize::from(letter))
            .is_some_and(|needles| !needles.is_empty())
    }

    pub(super) fn add(&mut self, letters: Zeroizing<Vec<u8>>) {
        let Some(first) = letters.first() else { return };
        if self.beginning_with.is_empty() {
            self.beginning_with = vec![Vec::new(); 256];
        }
        self.beginning_with[usize::from(*first)].push(self.needles.len());
        let mut needle = Needle {
            fall_back: vec![0; letters.len() + 1],
            letters,
        };
        let mut length = 0;
        for index in 1..needle.letters.len() {
            length = needle.after(length, needle.letters[index]);
            needle.fall_back[index + 1] = length;
        }
        self.needles.push(needle);
    }
}

impl Needle {
    /// How much of it is found after one more letter.
    fn after(&self, mut found: u32, letter: u8) -> u32 {
        loop {
            if self.letters.get(found as usize) == Some(&letter) {
                return found + 1;
            }
            if found == 0 {
                return 0;
            }
            found = self.fall_back[found as usize];
        }
    }
}

/// How far each needle is found at the end of a stream.
pub(super) struct Matcher {
    found: Vec<u32>,
    /// The needles of which a beginning is found.
    under_way: Vec<usize>,
    /// Where the last letters begin in the stream: at least as many as are found of any needle.
    starts: VecDeque<u64>,
}

impl Matcher {
    pub(super) fn new(needles: &NeedleSet) -> Self {
        Self {
            found: vec![0; needles.needles.len()],
            under_way: Vec::new(),
            starts: VecDeque::new(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Takes the next letter, which lies at `place` in the stream.
    pub(super) fn step(
        &mut self,
        set: &NeedleSet,
        letter: u8,
        place: Range<u64>,
        hits: &mut Vec<Range<u64>>,
    ) {
        let beginning = &set.beginning_with[usize::from(letter)];
        if self.under_way.is_empty() && beginning.is_empty() {
            return;
        }
        let Self {
            found,
            under_way,
            starts,
        } = self;
        starts.push_back(place.start);
        let mut advance = |index: usize| {
            let needle = &set.needles[index];
            found[index] = needle.after(found[index], letter);
            if found[index] as usize == needle.letters.len() {
                let first = starts.len().saturating_sub(needle.letters.len());
                let start = starts.get(first).copied().unwrap_or(place.start);
                add(hits, start..place.end);
                found[index] = needle.fall_back[found[index] as usize];
            }
            found[index] > 0
        };
        under_way.retain(|index| advance(*index));
        let before = under_way.len();
        for index in beginning {
            // One that was under way has taken the letter already.
            if !under_way[..before].contains(index) && advance(*index) {
                under_way.push(*index);
            }
        }
        if under_way.is_empty() {
            starts.clear();
        }
    }

    /// Nothing that has begun goes on.
    pub(super) fn forget(&mut self) {
        for index in self.under_way.drain(..) {
            self.found[index] = 0;
        }
        self.starts.clear();
    }

    /// Lets go of places that nothing begins at any more.
    pub(super) fn trim(&mut self) {
        let longest = self.longest();
        self.starts.drain(..self.starts.len() - longest);
    }

    /// Where the longest beginning that is found begins.
    pub(super) fn open(&self) -> Option<u64> {
        let longest = self.longest();
        self.starts.get(self.starts.len() - longest).copied()
    }

    fn longest(&self) -> usize {
        let found = self
            .under_way
            .iter()
            .map(|index| self.found[*index] as usize);
        found.max().unwrap_or(0).min(self.starts.len())
    }
}

/// Overlapping hits are one; a long run of the same letter would otherwise have one for each.
fn add(hits: &mut Vec<Range<u64>>, hit: Range<u64>) {
    match hits.last_mut() {
        Some(last) if last.start <= hit.start && hit.start < last.end => {
            last.end = last.end.max(hit.end);
        }
        _ => hits.push(hit),
    }
}
