//! The recent output of a shell. Characters are counted from the shell's first one on, and keep
//! their numbers when older ones are forgotten.

use std::collections::VecDeque;

/// How much is forgotten at once. A read looks through two of these, not through everything.
const CHUNK: usize = 4096;

#[derive(Default)]
pub(super) struct Ring {
    chunks: VecDeque<Chunk>,
    /// The number of the first character that is kept.
    start: u64,
    /// How many characters there ever were.
    end: u64,
    bytes: usize,
}

struct Chunk {
    text: String,
    chars: u64,
}

/// A piece of what was kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) cursor: u64,
    pub(super) before: String,
    pub(super) text: String,
    pub(super) more: bool,
}

impl Ring {
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Adds text, and forgets the oldest beyond `limit` bytes.
    pub(super) fn push(&mut self, mut text: &str, limit: usize) {
        while !text.is_empty() {
            let room = match self.chunks.back() {
                Some(last) => CHUNK.saturating_sub(last.text.len()),
                None => 0,
            };
            let (now, later) = text.split_at(floor(text, room));
            if now.is_empty() {
                self.chunks.push_back(Chunk {
                    text: String::with_capacity(CHUNK),
                    chars: 0,
                });
                continue;
            }
            let chars = now.chars().count() as u64;
            if let Some(last) = self.chunks.back_mut() {
                last.text.push_str(now);
                last.chars += chars;
            }
            self.end += chars;
            self.bytes += now.len();
            text = later;
        }
        while self.bytes > limit.max(CHUNK)
            && let Some(oldest) = self.chunks.pop_front()
        {
            self.bytes -= oldest.text.len();
            self.start += oldest.chars;
        }
    }

    pub(super) fn read(&self, cursor: u64, max_chars: u64, before_chars: u64) -> Piece {
        let cursor = cursor.clamp(self.start, self.end);
        let until = cursor.saturating_add(max_chars).min(self.end);
        let from = cursor.saturating_sub(before_chars).max(self.start);
        Piece {
            cursor,
            before: self.between(from, cursor),
            text: self.between(cursor, until),
            more: until < self.end,
        }
    }

    /// The characters from one number to another, both kept.
    fn between(&self, from: u64, until: u64) -> String {
        let mut text = String::new();
        let mut at = self.start;
        for chunk in &self.chunks {
            let next = at + chunk.chars;
            if next > from && at < until {
                let begin = byte_of(&chunk.text, from.saturating_sub(at));
                let end = byte_of(&chunk.text, until - at);
                text.push_str(&chunk.text[begin..end]);
            }
            at = next;
        }
        text
    }
}

/// Where a character begins; the end of the text when it has fewer.
fn byte_of(text: &str, character: u64) -> usize {
    let Ok(character) = usize::try_from(character) else {
        return text.len();
    };
    text.char_indices()
        .nth(character)
        .map_or(text.len(), |(at, _)| at)
}

/// The most whole characters that fit.
fn floor(text: &str, room: usize) -> usize {
    let mut at = room.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_keep_their_numbers_when_older_ones_go() {
        let mut ring = Ring::default();
        let mut all = String::new();
        for number in 0..20_000 {
            let line = format!("{number} \u{e9}\u{1f600}\r\n");
            ring.push(&line, 64 * 1024);
            all.push_str(&line);
        }
        assert!(ring.bytes <= 64 * 1024 && ring.start > 0);
        let all: Vec<char> = all.chars().collect();
        assert_eq!(ring.end, all.len() as u64);
        let part = |from: u64, until: u64| -> String {
            all[from as usize..until as usize].iter().collect()
        };
        // One that fell behind goes on with the oldest.
        let piece = ring.read(0, 10, 10);
        assert_eq!(piece.cursor, ring.start);
        assert_eq!(piece.text, part(ring.start, ring.start + 10));
        assert_eq!((piece.before.as_str(), piece.more), ("", true));
        for cursor in (ring.start + 7..ring.end).step_by(997) {
            let piece = ring.read(cursor, 5000, 7);
            let until = (cursor + 5000).min(ring.end);
            assert_eq!(piece.text, part(cursor, until));
            assert_eq!(piece.before, part(cursor - 7, cursor));
            assert_eq!(piece.more, until < ring.end);
        }
        // One beyond the end waits there.
        let piece = ring.read(u64::MAX, u64::MAX, 3);
        assert_eq!((piece.cursor, piece.text.as_str()), (ring.end, ""));
        assert_eq!(piece.before, part(ring.end - 3, ring.end));
    }

    #[test]
    fn a_long_piece_is_taken_in_parts() {
        let mut ring = Ring::default();
        let text = "\u{1f600}".repeat(CHUNK);
        ring.push(&text, usize::MAX);
        assert_eq!(ring.read(0, u64::MAX, 0).text, text);
        assert!(ring.chunks.iter().all(|chunk| chunk.text.len() <= CHUNK));
        let whole = Ring::default().read(5, 5, 5);
        assert_eq!((whole.cursor, whole.more), (0, false));
    }
}
