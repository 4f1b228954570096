//! The encodings that values are looked for in: which bytes make one letter, which are skipped.

use std::ops::Range;

use super::matcher::{Matcher, NeedleSet};

/// How many bytes without meaning may follow each other inside a value. More would let a stream
/// make us hold back as much as it likes.
const MAX_SKIPPED: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is, but for the `\r` that a terminal adds.
    Plain,
    /// With `%41` as `A`, and `+` as a space.
    Percent,
    /// Both alphabets as one, line ends left out.
    Base64,
}

impl Encoding {
    pub(super) fn skips(self, byte: u8) -> bool {
        match self {
            Self::Plain => byte == b'\r',
            Self::Percent => false,
            Self::Base64 => matches!(byte, b'\r' | b'\n'),
        }
    }

    pub(super) fn letter(self, byte: u8) -> u8 {
        match (self, byte) {
            (Self::Percent, b'+') => b' ',
            (Self::Base64, b'-') => b'+',
            (Self::Base64, b'_') => b'/',
            _ => byte,
        }
    }
}

/// Looks for values in one stream, in one encoding.
pub(super) struct Scanner {
    encoding: Encoding,
    matcher: Matcher,
    skipped: u8,
    /// The bytes at which something may begin; between two of them there is nothing to do.
    begins: Box<[bool; 256]>,
    /// A `%` that was seen, and maybe the first digit after it.
    escape: Option<Escape>,
}

struct Escape {
    at: u64,
    digit: Option<u8>,
}

impl Scanner {
    pub(super) fn new(encoding: Encoding, needles: &NeedleSet) -> Self {
        let mut begins = Box::new([false; 256]);
        for (byte, begins) in (0..=u8::MAX).zip(begins.iter_mut()) {
            let escape = encoding == Encoding::Percent && byte == b'%' && !needles.is_empty();
            *begins = escape || !encoding.skips(byte) && needles.begins(encoding.letter(byte));
        }
        Self {
            encoding,
            begins,
            matcher: Matcher::new(needles),
            skipped: 0,
            escape: None,
        }
    }

    /// Looks at bytes that lie at `from` in the stream.
    pub(super) fn scan(
        &mut self,
        needles: &NeedleSet,
        bytes: &[u8],
        from: u64,
        hits: &mut Vec<Range<u64>>,
    ) {
        if needles.is_empty() {
            return;
        }
        let mut index = 0;
        while index < bytes.len() {
            if self.matcher.is_idle() && self.escape.is_none() {
                let begins = |byte: &u8| self.begins[usize::from(*byte)];
                match bytes[index..].iter().position(begins) {
                    Some(before) => index += before,
                    None => break,
                }
            }
            self.look_at(needles, bytes[index], from + index as u64, hits);
            index += 1;
        }
        self.matcher.trim();
    }

    fn look_at(&mut self, needles: &NeedleSet, byte: u8, at: u64, hits: &mut Vec<Range<u64>>) {
        if self.encoding == Encoding::Percent {
            self.look_percent(needles, byte, at, hits);
        } else if self.encoding.skips(byte) {
            self.skipped += 1;
            if self.skipped > MAX_SKIPPED {
                self.matcher.forget();
                self.skipped = 0;
            }
        } else {
            self.skipped = 0;
            let letter = self.encoding.letter(byte);
            self.matcher.step(needles, letter, at..at + 1, hits);
        }
    }

    fn look_percent(&mut self, needles: &NeedleSet, byte: u8, at: u64, hits: &mut Vec<Range<u64>>) {
        match self.escape.take() {
            Some(Escape { at, digit: None }) if byte.is_ascii_hexdigit() => {
                let digit = Some(byte);
                self.escape = Some(Escape { at, digit });
                return;
            }
            Some(Escape {
                at: start,
                digit: Some(digit),
            }) if byte.is_ascii_hexdigit() => {
                let letter = self.encoding.letter(value(digit) * 16 + value(byte));
                self.matcher.step(needles, letter, start..at + 1, hits);
                return;
            }
            // It was no escape.
            Some(Escape { at, digit }) => {
                self.matcher.step(needles, b'%', at..at + 1, hits);
                if let Some(digit) = digit {
                    self.matcher.step(needles, digit, at + 1..at + 2, hits);
                }
            }
            None => {}
        }
        if byte == b'%' {
            self.escape = Some(Escape { at, digit: None });
        } else {
            let letter = self.encoding.letter(byte);
            self.matcher.step(needles, letter, at..at + 1, hits);
        }
    }

    /// Where the earliest value that may still come to its end begins.
    pub(super) fn open(&self) -> Option<u64> {
        let escape = self.escape.as_ref().map(|escape| escape.at);
        [self.matcher.open(), escape].into_iter().flatten().min()
    }
}

fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.saturating_sub(b'A') + 10,
    }
}
