//! What commands print, on its way past the values of secrets: what comes out does not depend on how
//! it was cut, and is made of parts of what went in.

use pyro_wire::redaction::{REDACTED, Redaction};

use crate::Target;
use crate::seeds::{Seed, SeedError};

pub(crate) const TARGET: Target = Target {
    name: "redaction",
    play,
    seeds,
    mend: |_| {},
    inputs: 10_000,
};

/// Begins with the lengths of two values and of the pieces; then come the values, and the text.
fn play(bytes: &[u8]) -> bool {
    let [first, second, size, rest @ ..] = bytes else {
        return false;
    };
    let length = |byte: &u8| usize::from(byte % 40);
    let Some((one, rest)) = rest.split_at_checked(length(first)) else {
        return false;
    };
    let Some((other, text)) = rest.split_at_checked(length(second)) else {
        return false;
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
    let found = count(&whole, REDACTED.as_bytes());
    assert!(whole.len() - REDACTED.len() * found <= text.len());
    found > 0
}

fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes
        .windows(part.len())
        .filter(|window| *window == part)
        .count()
}

fn seeds() -> Result<Vec<Seed>, SeedError> {
    let seed = |name: &str, one: &str, other: &str, text: &str| {
        let lengths = [one.len(), other.len(), 7].map(|length| length as u8);
        Seed::new(
            name,
            [&lengths, [one, other, text].concat().as_bytes()].concat(),
        )
    };
    let (word, key) = ("correct horse", "ab+cd/ef?gh\nsecond line of it\n");
    Ok(vec![
        seed(
            "plain",
            word,
            "hunter2",
            "it is correct horse, not hunter2 or hunter",
        ),
        seed(
            "lines",
            word,
            key,
            "ab+cd/ef?gh\r\nsecond line of it\r\ncorrect horsecorrect horse",
        ),
        seed(
            "base64",
            word,
            key,
            "Y29ycmVjdCBob3JzZQ== Y29ycmVj\ndCBob3JzZQ fGNvcnJlY3QgaG9yc2U= YWIrY2QvZWY_Z2g=",
        ),
        seed(
            "percent",
            word,
            key,
            "correct%20horse %63orrect%20hors%65 ab%2Bcd%2Fef%3fgh%0Asecond%20line%20of%20it%0a",
        ),
        seed("overlapping", "aaaa", "aa", "aaaaaaaaaaaaa baaab aa a"),
    ])
}
