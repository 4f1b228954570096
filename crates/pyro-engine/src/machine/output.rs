//! Keeps the beginning and the end of an output stream, whatever its length.

use std::collections::VecDeque;

use pyro_api::values::OutputEncoding;

pub(crate) struct CapturedOutput {
    /// Bytes kept at each end.
    half: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

/// What was kept, as text.
pub(crate) struct CapturedText {
    pub(crate) text: String,
    pub(crate) bytes: u64,
    pub(crate) truncated: bool,
    pub(crate) encoding: OutputEncoding,
}

impl CapturedOutput {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            half: limit / 2,
            head: Vec::new(),
            tail: VecDeque::new(),
            total: 0,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = self.half - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(self.half)..];
        let overflow = (self.tail.len() + rest.len()).saturating_sub(self.half);
        self.tail.drain(..overflow);
        self.tail.extend(rest);
    }

    /// So much was written that is not here to be kept.
    pub(crate) fn pass_over(&mut self, bytes: u64) {
        if bytes > 0 {
            self.total += bytes;
            self.tail.clear();
        }
    }

    /// All of it; `None` where a part was left out.
    pub(crate) fn into_bytes(self) -> Option<Vec<u8>> {
        let mut bytes = self.head;
        bytes.extend(self.tail);
        (bytes.len() as u64 == self.total).then_some(bytes)
    }

    pub(crate) fn into_text(self) -> CapturedText {
        let left_out = self.total - (self.head.len() + self.tail.len()) as u64;
        let tail: Vec<u8> = self.tail.into();
        let (text, exact) = if left_out == 0 {
            let mut whole = self.head;
            whole.extend_from_slice(&tail);
            decode(&whole)
        } else {
            // The cuts may go through a character; that is not the command's doing.
            let (head, head_exact) = decode(without_partial_end(&self.head));
            let (tail, tail_exact) = decode(without_partial_start(&tail));
            (
                format!("{head}\n[… {left_out} bytes left out …]\n{tail}"),
                head_exact && tail_exact,
            )
        };
        CapturedText {
            text,
            bytes: self.total,
            truncated: left_out > 0,
            encoding: if exact {
                OutputEncoding::Utf8
            } else {
                OutputEncoding::Utf8Replaced
            },
        }
    }
}

fn decode(bytes: &[u8]) -> (String, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), true),
        Err(_) => (String::from_utf8_lossy(bytes).into_owned(), false),
    }
}

pub(crate) fn without_partial_end(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        // `error_len` is absent when the bytes end in the middle of a character.
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

pub(crate) fn without_partial_start(bytes: &[u8]) -> &[u8] {
    let continuation = bytes
        .iter()
        .take(3)
        .take_while(|byte| **byte & 0b1100_0000 == 0b1000_0000)
        .count();
    &bytes[continuation..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(limit: usize, pieces: &[&[u8]]) -> CapturedText {
        let mut output = CapturedOutput::new(limit);
        for piece in pieces {
            output.push(piece);
        }
        output.into_text()
    }

    #[test]
    fn short_output_is_kept_whole() {
        let text = kept(10, &[b"abc", b"defgh", b"ij"]);
        assert_eq!((text.text.as_str(), text.truncated), ("abcdefghij", false));
    }

    #[test]
    fn long_output_keeps_both_ends_and_says_so() {
        let text = kept(6, &[b"abcd", b"efghijklmnop", b"q"]);
        assert_eq!(text.text, "abc\n[… 11 bytes left out …]\nopq");
        assert_eq!((text.bytes, text.truncated), (17, true));
    }

    #[test]
    fn a_cut_character_does_not_make_text_look_binary() {
        let text = kept(4, &["aé€€éb".as_bytes()]);
        assert_eq!(text.encoding, OutputEncoding::Utf8);
        let binary = kept(64, &[b"ok \xff"]);
        assert_eq!(binary.encoding, OutputEncoding::Utf8Replaced);
        assert_eq!(binary.text, "ok \u{fffd}");
    }

    #[test]
    fn what_is_passed_over_is_a_gap() {
        let mut output = CapturedOutput::new(8);
        output.push(b"abcdefg");
        output.pass_over(100);
        output.push(b"yz");
        let text = output.into_text();
        assert_eq!(text.text, "abcd\n[… 103 bytes left out …]\nyz");
        assert_eq!((text.bytes, text.truncated), (109, true));
    }

    #[test]
    fn nothing_is_kept_when_nothing_is_wanted() {
        let text = kept(0, &[b"abc"]);
        assert_eq!((text.bytes, text.truncated), (3, true));
    }
}
