//! The text of a patch as lines, and a place in it.

use super::mail;
use crate::text::{is_blank, without_cr};

/// A place in the text of a patch.
pub(crate) struct Lines<'t> {
    lines: Vec<&'t [u8]>,
    at: usize,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t [u8]) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        if lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        // When every line ends so, the whole text came that way, and it says nothing of the files.
        let ended = match text.ends_with(b"\n") {
            true => lines.as_slice(),
            false => &lines[..lines.len().saturating_sub(1)],
        };
        if !ended.is_empty() && ended.iter().all(|line| line.ends_with(b"\r")) {
            for line in &mut lines {
                *line = without_cr(line);
            }
        }
        mail::blank_boundaries(&mut lines);
        Self { lines, at: 0 }
    }

    pub(crate) fn peek(&self) -> Option<&'t [u8]> {
        self.ahead(0)
    }

    pub(crate) fn ahead(&self, count: usize) -> Option<&'t [u8]> {
        self.lines.get(self.at + count).copied()
    }

    pub(crate) fn advance(&mut self) {
        self.at += 1;
    }

    /// Of the line that comes next, counted from 1.
    pub(crate) fn number(&self) -> usize {
        self.at + 1
    }

    pub(crate) fn place(&self) -> usize {
        self.at
    }

    pub(crate) fn go_back(&mut self, place: usize) {
        self.at = place;
    }

    /// How many blank lines come next.
    pub(crate) fn blank_ahead(&self) -> usize {
        let rest = self.lines.get(self.at..).unwrap_or_default();
        rest.iter().take_while(|line| is_blank(line)).count()
    }
}

/// Three or more backquotes or tildes.
pub(crate) fn is_fence(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    line.starts_with(b"```") || line.starts_with(b"~~~")
}
