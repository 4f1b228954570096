//! What commands print, on its way past the values of secrets: what comes out does not depend on how
//! it was cut, and is made of parts of what went in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pyro_wire::redaction::{REDACTED, Redaction};

fuzz_target!(|bytes: &[u8]| {
    let [first, second, size, rest @ ..] = bytes else {
        return;
    };
    let length = |byte: &u8| usize::from(byte % 40);
    let Some((one, rest)) = rest.split_at_checked(length(first)) else {
        return;
    };
    let Some((other, text)) = rest.split_at_checked(length(second)) else {
        return;
    };
    let redaction = Redaction::of([one, other]);
    let clean = |size: usize| {
        let mut redactor = redaction.redactor();
        let mut clean = Vec::new();
        for piece in text.chunks(size) {
            clean.extend_from_slice(&redactor.push(piece));
            // Base64 is a third longer, percent-encoding three times, and line ends come between.
            assert!(redactor.held() <= 40 * 3 * 3);
        }
        clean.extend(redactor.finish());
        clean
    };
    let whole = clean(text.len().max(1));
    assert_eq!(clean(usize::from(*size).max(1)), whole);
    let shown = whole.len() - REDACTED.len() * count(&whole, REDACTED.as_bytes());
    assert!(shown <= text.len());
});

fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes
        .windows(part.len())
        .filter(|window| *window == part)
        .count()
}
