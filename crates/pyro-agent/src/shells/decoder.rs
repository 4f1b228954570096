//! Bytes as they come become text: what is not UTF-8 is replaced, and a character that is cut
//! waits for its rest.

#[derive(Default)]
pub(super) struct Decoder {
    /// The beginning of a character; at most three bytes.
    begun: Vec<u8>,
}

impl Decoder {
    pub(super) fn decode(&mut self, bytes: &[u8]) -> String {
        self.begun.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.begun.len());
        let mut rest = 0;
        for chunk in self.begun.utf8_chunks() {
            text.push_str(chunk.valid());
            rest += chunk.valid().len();
            let invalid = chunk.invalid();
            if rest + invalid.len() == self.begun.len() && is_beginning(invalid) {
                break;
            }
            if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                rest += invalid.len();
            }
        }
        self.begun.drain(..rest);
        text
    }

    /// No more will come.
    pub(super) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.begun)).into_owned()
    }
}

fn is_beginning(bytes: &[u8]) -> bool {
    // `error_len` is absent when the bytes end in the middle of a character.
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_bytes_are_cut_the_text_is_the_same() {
        let bytes = "a\u{e9}\u{20ac}\u{1f600}\u{301}".as_bytes();
        let bytes = [bytes, b"\xff\xe2\x82x\xf0\x9f", bytes, b"\xf0\x9f\x98"].concat();
        let whole = String::from_utf8_lossy(&bytes);
        for size in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut text = String::new();
            for piece in bytes.chunks(size) {
                text.push_str(&decoder.decode(piece));
                assert!(decoder.begun.len() < 4);
            }
            text.push_str(&decoder.finish());
            assert_eq!(text, whole, "in pieces of {size}");
        }
    }
}
