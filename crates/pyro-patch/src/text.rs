//! A file as lines. Only line feeds end a line: form feeds, lone carriage returns and the line
//! separators of Unicode are part of it.

use std::ops::Range;

/// Content with the places where its lines start.
#[derive(Debug)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Text {
    /// The content is at most [`MAX_FILE`](crate::MAX_FILE) long, or a new one little longer.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let mut starts = Vec::new();
        let mut at = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            starts.push(at as u32);
            at += line.len();
        }
        Self { bytes, starts }
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Line feed left out, carriage return not.
    pub(crate) fn line(&self, index: usize) -> &[u8] {
        self.lines(index..index + 1)
    }

    /// Neighbouring lines; the line feed of the last is left out.
    pub(crate) fn lines(&self, range: Range<usize>) -> &[u8] {
        let end = match self.starts.get(range.end) {
            Some(next) => *next as usize,
            None => self.bytes.len(),
        };
        let lines = &self.bytes[self.starts[range.start] as usize..end];
        lines.strip_suffix(b"\n").unwrap_or(lines)
    }

    /// Whether the last line ends as lines should. Nothing is well ended.
    pub(crate) fn ended(&self) -> bool {
        self.bytes.last().is_none_or(|byte| *byte == b'\n')
    }
}

/// The line without a carriage return at its end.
pub(crate) fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

pub(crate) fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

/// The white space at the front.
pub(crate) fn indentation(line: &[u8]) -> &[u8] {
    &line[..line.len() - line.trim_ascii_start().len()]
}

/// Bytes from outside, fit for one line of a message.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 120;
    let mut words = String::new();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST * 4)]);
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST {
            words.push('…');
            break;
        }
        match character {
            '\t' => words.push(character),
            _ if character.is_control() => words.extend(character.escape_default()),
            _ => words.push(character),
        }
    }
    words
}
