//! Takes the values of secrets out of what people and agents read, as it streams by.
//!
//! It is a net for accidents (`set -x`, a stack trace, `env`), not a wall: whoever runs commands in
//! the guest can write a value in a form that is not known here. Known are, for each value,
//!
//! - the value itself, also where a terminal wrote `\r\n` for its `\n`; and of one with several
//!   lines each line of [`ENCODED_FROM`] bytes or more,
//! - and when it has [`ENCODED_FROM`] bytes or more: base64, standard or URL alphabet, at any
//!   alignment, also broken into lines; and percent-encoding, whichever characters it encodes.
//!
//! One line end at the end of a value does not count, so that `TOKEN=$(cat FILE)` is known too.
//!
//! ```text
//! bytes ─┬▶ as they are ────────▶ matcher ─┐
//!        ├▶ percent-decoded ────▶ matcher ─┼▶ ranges ▶ overlapping ones become one [REDACTED]
//!        └▶ base64 letters only ▶ matcher ─┘
//! ```

mod encoding;
mod matcher;
mod needles;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use encoding::Scanner;
pub use needles::ENCODED_FROM;
use needles::Needles;

/// What stands in place of a value.
pub const REDACTED: &str = "[REDACTED]";

/// The values to look for, shared by everything that looks for them.
#[derive(Clone, Default)]
pub struct Redaction(Arc<Needles>);

impl Redaction {
    pub fn of<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Self {
        Self(Arc::new(Needles::of(values)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For one stream.
    pub fn redactor(&self) -> Redactor {
        Redactor::new(self.clone())
    }

    /// For a text that is there as a whole.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut redactor = self.redactor();
        let mut clean = redactor.push(text.as_bytes()).into_owned();
        clean.extend(redactor.finish());
        Cow::Owned(String::from_utf8_lossy(&clean).into_owned())
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Redaction(..)")
    }
}

/// Redacts one stream. Bytes that may be the beginning of a value wait for what follows.
pub struct Redactor {
    needles: Redaction,
    scanners: [Scanner; 3],
    /// What came in and did not go out yet.
    held: Vec<u8>,
    /// Where in the stream `held` begins.
    base: u64,
    /// Where values were found, as far as that is not behind us.
    hits: Vec<Range<u64>>,
    /// Up to where the last mark stands for the stream.
    covered: u64,
}

impl Redactor {
    fn new(needles: Redaction) -> Self {
        Self {
            scanners: needles.0.scanners(),
            needles,
            held: Vec::new(),
            base: 0,
            hits: Vec::new(),
            covered: 0,
        }
    }

    /// Takes the next bytes, and gives what can be shown by now.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.needles.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let from = self.base + self.held.len() as u64;
        let to = from + bytes.len() as u64;
        for (scanner, needles) in self.scanners.iter_mut().zip(self.needles.0.sets()) {
            scanner.scan(needles, bytes, from, &mut self.hits);
        }
        let open = self.scanners.iter().filter_map(Scanner::open).min();
        let nothing_held = self.held.is_empty() && open.is_none();
        if nothing_held && self.hits.is_empty() && self.covered <= from {
            self.base = to;
            return Cow::Borrowed(bytes);
        }
        self.held.extend_from_slice(bytes);
        Cow::Owned(self.emit(open.unwrap_or(to)))
    }

    /// Gives what was held back: nothing follows any more.
    pub fn finish(&mut self) -> Vec<u8> {
        let rest = self.emit(self.base + self.held.len() as u64);
        *self = Self {
            base: self.base,
            ..Self::new(self.needles.clone())
        };
        self.covered = self.base;
        rest
    }

    /// How many bytes are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Gives what is held back if the value that it may begin has come no further than `most`
    /// bytes. A terminal has to show what was typed, even where a secret begins with that letter;
    /// when the value comes all the same, its mark stands for the rest of it.
    pub fn release(&mut self, most: u64) -> Vec<u8> {
        let to = self.base + self.held.len() as u64;
        let open = self.scanners.iter().filter_map(Scanner::open).min();
        match open {
            Some(open) if to.saturating_sub(open) > most => Vec::new(),
            _ => self.emit(to),
        }
    }

    /// Everything before `bound`, where no value can begin any more that is not found yet.
    fn emit(&mut self, bound: u64) -> Vec<u8> {
        self.hits.sort_unstable_by_key(|hit| hit.start);
        let mut clean = Vec::new();
        let mut at = self.base;
        for hit in &self.hits {
            if hit.start >= bound {
                break;
            }
            if hit.start < self.covered {
                self.covered = self.covered.max(hit.end);
                continue;
            }
            show(
                &self.held,
                self.base,
                at.max(self.covered)..hit.start,
                &mut clean,
            );
            clean.extend_from_slice(REDACTED.as_bytes());
            self.covered = hit.end;
            at = hit.end;
        }
        show(
            &self.held,
            self.base,
            at.max(self.covered)..bound,
            &mut clean,
        );
        self.hits.retain(|hit| hit.start >= bound);
        let gone = usize::try_from(bound.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.held.drain(..gone.min(self.held.len()));
        self.base = self.base.max(bound);
        clean
    }
}

/// Appends a range of the stream, whose part that begins at `base` is at hand.
fn show(held: &[u8], base: u64, range: Range<u64>, to: &mut Vec<u8>) {
    let index = |at: u64| usize::try_from(at.saturating_sub(base)).unwrap_or(usize::MAX);
    if let Some(bytes) = held.get(index(range.start)..index(range.end)) {
        to.extend_from_slice(bytes);
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Redactor(..)")
    }
}

#[cfg(test)]
mod tests;
