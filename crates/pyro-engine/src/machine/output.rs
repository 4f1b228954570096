//! Keeps the beginning and the end of an output stream, whatever its length.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pyro_api::values::{ContentEncoding, OutputEncoding};

pub(crate) struct CapturedOutput {
    /// Bytes kept at each end.
    half: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

/// The end of what a command had to say, kept whoever keeps the rest.
#[derive(Default)]
pub(crate) struct LastWords(VecDeque<u8>);

impl LastWords {
    /// Enough for the lines with which a program gives up.
    pub(crate) const BYTES: usize = 4 * 1024;

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(Self::BYTES)..];
        let overflow = (self.0.len() + bytes.len()).saturating_sub(Self::BYTES);
        self.0.drain(..overflow);
        self.0.extend(bytes);
    }

    pub(crate) fn into_text(self) -> String {
        let bytes: Vec<u8> = self.0.into();
        String::from_utf8_lossy(&bytes).into_owned()
    }
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

    /// Leaves a character off that is not whole at the end of what there is so far: its rest comes later.
    pub(crate) fn leave_off_partial_end(&mut self) {
        let kept = (self.head.len() + self.tail.len()) as u64;
        let partial = if !self.tail.is_empty() {
            let tail = self.tail.make_contiguous();
            let partial = tail.len() - without_partial_end(tail).len();
            self.tail.truncate(self.tail.len() - partial);
            partial
        } else if kept == self.total {
            let whole = without_partial_end(&self.head).len();
            let partial = self.head.len() - whole;
            self.head.truncate(whole);
            partial
        } else {
            // The end of what there is was not kept.
            0
        };
        self.total -= partial as u64;
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
        let (text, encoding) = if left_out == 0 {
            let mut whole = self.head;
            whole.extend_from_slice(&tail);
            decode(&whole)
        } else {
            // The cuts may go through a character; that is not the command's doing.
            let (head, of_head) = decode(without_partial_end(&self.head));
            let (tail, of_tail) = decode(without_partial_start(&tail));
            (
                format!("{head}\n[… {left_out} bytes left out …]\n{tail}"),
                match of_head {
                    OutputEncoding::Utf8 => of_tail,
                    replaced => replaced,
                },
            )
        };
        CapturedText {
            text,
            bytes: self.total,
            truncated: left_out > 0,
            encoding,
        }
    }
}

fn decode(bytes: &[u8]) -> (String, OutputEncoding) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), OutputEncoding::Utf8),
        Err(_) => (
            String::from_utf8_lossy(bytes).into_owned(),
            OutputEncoding::Utf8Replaced,
        ),
    }
}

/// Output as an answer holds it, in the form that was asked for.
pub(crate) fn encoded(bytes: &[u8], wanted: ContentEncoding) -> (String, OutputEncoding) {
    match wanted {
        ContentEncoding::Utf8 => decode(bytes),
        ContentEncoding::Base64 => (BASE64_STANDARD.encode(bytes), OutputEncoding::Base64),
    }
}

/// The bytes without a character at their end of which more belongs to it, whatever stands before.
pub(crate) fn without_partial_end(bytes: &[u8]) -> &[u8] {
    let is_partial = |at: &usize| {
        // `error_len` is absent when the bytes end in the middle of a character.
        std::str::from_utf8(&bytes[*at..])
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let last = bytes.len().saturating_sub(3)..bytes.len();
    let end = last.clone().find(is_partial).unwrap_or(last.end);
    &bytes[..end]
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
    fn last_words_are_the_last_however_they_come() {
        let mut words = LastWords::default();
        for piece in ["x".repeat(10_000), "é".repeat(2_000), "end".to_owned()] {
            words.push(piece.as_bytes());
        }
        let text = words.into_text();
        assert!(text.ends_with("éend") && text.starts_with('x'), "{text}");
        assert_eq!(text.len(), LastWords::BYTES);
        let mut words = LastWords::default();
        words.push("é".repeat(LastWords::BYTES).as_bytes());
        words.push(b"!");
        assert!(words.into_text().ends_with("é!"));
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
    fn a_character_that_is_not_whole_is_left_off_the_end() {
        let cases: [(&[u8], &[u8]); 7] = [
            (b"caf\xc3", b"caf"),
            (b"\xe6\x97", b""),
            (b"\xff\xf0\x9f\x98", b"\xff"),
            ("日本".as_bytes(), "日本".as_bytes()),
            (b"caf\xe9\n", b"caf\xe9\n"),
            (b"\x80\x80", b"\x80\x80"),
            (b"", b""),
        ];
        for (bytes, whole) in cases {
            assert_eq!(
                without_partial_end(bytes),
                whole,
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn what_is_there_so_far_is_counted_to_its_last_whole_character() {
        let so_far = |limit, pieces: &[&[u8]], beyond| {
            let mut output = CapturedOutput::new(limit);
            pieces.iter().for_each(|piece| output.push(piece));
            output.pass_over(beyond);
            output.leave_off_partial_end();
            let text = output.into_text();
            (text.text, text.bytes, text.encoding)
        };
        let utf8 = OutputEncoding::Utf8;
        assert_eq!(so_far(64, &[b"caf\xc3"], 0), ("caf".to_owned(), 3, utf8));
        let gap = "a\n[… 2 bytes left out …]\nz".to_owned();
        assert_eq!(so_far(4, &[b"a\xc3", b"\xa9bz\xc3"], 0), (gap, 5, utf8));
        let (_, bytes, _) = so_far(64, &[b"a\xc3"], 9);
        assert_eq!(bytes, 11);
    }

    #[test]
    fn nothing_is_kept_when_nothing_is_wanted() {
        let text = kept(0, &[b"abc"]);
        assert_eq!((text.bytes, text.truncated), (3, true));
    }
}
