//! The part of a file that is most like the old lines of a hunk, to tell where a patch went wrong.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::text::{Text, is_blank, shown};

/// A line found so often says nothing about the place.
const COMMON: usize = 200;
/// Bounds on the search for lines that are only alike.
const LINES_COMPARED: usize = 20_000;
const WANTED_COMPARED: usize = 400;
const BYTES_COMPARED: usize = 160;
/// Less alike than this is not worth showing.
const LEAST_ALIKE: f32 = 0.35;
/// Lines shown.
const SHOWN: usize = 12;

#[derive(Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Counted from 1.
    pub line: usize,
    pub lines: Vec<NearLine>,
    /// Lines behind those.
    pub more: usize,
    pub percent: u8,
}

#[derive(Debug, PartialEq, Eq)]
pub struct NearLine {
    pub text: String,
    pub same: bool,
}

impl fmt::Display for Nearest {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "The most similar text ({} %) is at line {} (`>` marks what differs):",
            self.percent, self.line
        )?;
        for (offset, line) in self.lines.iter().enumerate() {
            let mark = if line.same { ' ' } else { '>' };
            write!(to, "\n{:>5} {mark}| {}", self.line + offset, line.text)?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(to, "\n      | … {more} more lines"),
        }
    }
}

pub(crate) fn nearest(text: &Text, wanted: &[&[u8]]) -> Option<Nearest> {
    let wanted = &wanted[..wanted.len().min(WANTED_COMPARED)];
    let mut starts = by_equal_lines(text, wanted);
    if starts.is_empty() {
        starts.extend(by_alike_line(text, wanted));
    }
    let (alike, start) = starts
        .into_iter()
        .map(|start| (likeness(text, wanted, start), start))
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
        .filter(|(alike, _)| *alike >= LEAST_ALIKE)?;
    let first = usize::try_from(start.max(0)).unwrap_or_default();
    let end = usize::try_from(start + wanted.len() as isize).unwrap_or_default();
    let end = end.min(text.len());
    let lines = (first..end.min(first + SHOWN))
        .map(|line| NearLine {
            text: shown(text.line(line)),
            same: wanted.get((line as isize - start) as usize) == Some(&text.line(line)),
        })
        .collect::<Vec<_>>();
    Some(Nearest {
        line: first + 1,
        more: end - first - lines.len(),
        lines,
        percent: (alike * 100.0).min(99.0) as u8,
    })
}

/// The starts for which most lines fit, white space aside.
fn by_equal_lines(text: &Text, wanted: &[&[u8]]) -> Vec<isize> {
    const BEST: usize = 4;
    let mut places: HashMap<&[u8], Vec<usize>> = wanted
        .iter()
        .filter(|line| !is_blank(line))
        .map(|line| (line.trim_ascii(), Vec::new()))
        .collect();
    for line in 0..text.len() {
        if let Some(places) = places.get_mut(text.line(line).trim_ascii())
            && places.len() <= COMMON
        {
            places.push(line);
        }
    }
    let mut votes: HashMap<isize, usize> = HashMap::new();
    for (offset, line) in wanted.iter().enumerate() {
        let places = places
            .get(line.trim_ascii())
            .filter(|places| places.len() <= COMMON);
        for place in places.into_iter().flatten() {
            *votes.entry(*place as isize - offset as isize).or_default() += 1;
        }
    }
    let mut votes: Vec<(usize, isize)> = votes
        .into_iter()
        .map(|(start, count)| (count, start))
        .collect();
    votes.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    votes
        .into_iter()
        .take(BEST)
        .map(|(_, start)| start)
        .collect()
}

/// The start for which the longest line fits best.
fn by_alike_line(text: &Text, wanted: &[&[u8]]) -> Option<isize> {
    let (offset, longest) = wanted
        .iter()
        .enumerate()
        .max_by_key(|(_, line)| line.trim_ascii().len())?;
    let longest = Pairs::new(longest);
    (0..text.len().min(LINES_COMPARED))
        .map(|line| (longest.likeness(text.line(line)), line))
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
        .map(|(_, line)| line as isize - offset as isize)
}

/// Between 0 and 1.
fn likeness(text: &Text, wanted: &[&[u8]], start: isize) -> f32 {
    let sum: f32 = (start..)
        .zip(wanted)
        .map(|(line, wanted)| match usize::try_from(line) {
            Ok(line) if line < text.len() => {
                let there = text.line(line);
                if there == *wanted {
                    1.0
                } else {
                    Pairs::new(wanted).likeness(there) * 0.98
                }
            }
            _ => 0.0,
        })
        .sum();
    sum / wanted.len().max(1) as f32
}

/// Neighbouring bytes of a line, to compare it with others.
struct Pairs(HashSet<[u8; 2]>);

impl Pairs {
    fn new(line: &[u8]) -> Self {
        let line = line.trim_ascii();
        let line = &line[..line.len().min(BYTES_COMPARED)];
        let pairs = line.windows(2).map(|pair| [pair[0], pair[1]]);
        Self(pairs.collect())
    }

    /// Dice's coefficient.
    fn likeness(&self, other: &[u8]) -> f32 {
        let other = Self::new(other).0;
        let all = self.0.len() + other.len();
        if all == 0 {
            return 0.0;
        }
        2.0 * self.0.intersection(&other).count() as f32 / all as f32
    }
}
