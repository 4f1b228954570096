//! What a guest wrote, for a terminal: it may choose the words that a person reads, not what the
//! terminal does with the rest of the screen.

use std::borrow::Cow;

/// The bytes with everything that acts on a terminal made visible: `^[` for ESC and so on. Lines and
/// tabs stay.
pub(super) fn visible(bytes: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    if bytes.iter().all(is_plain) {
        return Cow::Borrowed(bytes);
    }
    let mut shown = Vec::with_capacity(bytes.len() + bytes.len() / 8);
    for chunk in bytes.utf8_chunks() {
        let mut letters = chunk.valid().chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\n' | '\t' => shown.push(letter as u8),
                '\r' if letters.peek() == Some(&'\n') => shown.push(b'\r'),
                '\0'..='\x1f' | '\x7f' => shown.extend([b'^', letter as u8 ^ 0x40]),
                _ if letter.is_control() || turns_text(letter) => {
                    shown.extend(letter.escape_unicode().map(|sign| sign as u8));
                }
                _ => shown.extend(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            match byte {
                // Controls where a terminal does not take UTF-8.
                0x80..=0x9f => shown.extend(format!("\\x{byte:02x}").into_bytes()),
                _ => shown.push(*byte),
            }
        }
    }
    Cow::Owned(shown)
}

/// Overrides and isolates of writing direction, which show letters in another order than they are in.
fn turns_text(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_the_terminal() {
        let shown: [(&[u8], &[u8]); 9] = [
            (
                b"+good\n\x1b[1A\x1b[2Kevil\rnice\n",
                b"+good\n^[[1A^[[2Kevil^Mnice\n",
            ),
            (b"a\tb\r\nc\r", b"a\tb\r\nc^M"),
            (b"\0\x07\x08\x7f", b"^@^G^H^?"),
            ("\u{9b}2J".as_bytes(), b"\\u{9b}2J"),
            ("\u{202e}x\u{2069}".as_bytes(), b"\\u{202e}x\\u{2069}"),
            (b"caf\xe9 \x9b2J\xff", b"caf\xe9 \\x9b2J\xff"),
            (b"\r\x9b\r\n", b"^M\\x9b\r\n"),
            (
                "d\u{e9}j\u{e0} \u{1f600}".as_bytes(),
                "d\u{e9}j\u{e0} \u{1f600}".as_bytes(),
            ),
            (b"plain\n", b"plain\n"),
        ];
        for (bytes, wanted) in shown {
            let shown = visible(bytes);
            assert!(*shown == *wanted, "{}", shown.escape_ascii());
        }
    }
}
