use super::*;

const TOKEN: &str = "s3cr3t-/+t0ken?=\u{e4}&x";

fn in_pieces(redaction: &Redaction, bytes: &[u8], size: usize) -> Vec<u8> {
    let mut redactor = redaction.redactor();
    let mut clean = Vec::new();
    for piece in bytes.chunks(size) {
        clean.extend_from_slice(&redactor.push(piece));
    }
    clean.extend(redactor.finish());
    clean
}

/// What comes out, which must not depend on how the stream was cut.
fn clean(values: &[&str], text: impl AsRef<[u8]>) -> String {
    let redaction = Redaction::of(values);
    let text = text.as_ref();
    let whole = in_pieces(&redaction, text, text.len().max(1));
    for size in [1, 2, 3, 7] {
        let cut = in_pieces(&redaction, text, size);
        assert_eq!(
            String::from_utf8_lossy(&cut),
            String::from_utf8_lossy(&whole),
            "in pieces of {size}"
        );
    }
    String::from_utf8(whole).unwrap()
}

#[test]
fn a_value_goes_and_everything_else_stays() {
    assert_eq!(
        clean(&["hunter2"], "a hunter2, hunterhunter2hunter"),
        "a [REDACTED], hunter[REDACTED]hunter"
    );
    assert_eq!(clean(&["x"], "axxb"), "a[REDACTED][REDACTED]b");
    assert_eq!(clean(&[], "text"), "text");
    assert_eq!(clean(&["hunter2"], ""), "");
}

#[test]
fn the_longest_wins_and_overlapping_ones_become_one() {
    assert_eq!(
        clean(&["abc", "abcdef"], "abcdef abcde"),
        "[REDACTED] [REDACTED]de"
    );
    assert_eq!(clean(&["abc", "cde"], "xabcdex"), "x[REDACTED]x");
    assert_eq!(clean(&["b", "abc"], "abc b"), "[REDACTED] [REDACTED]");
    assert_eq!(clean(&["aa"], "aaaaa|a"), "[REDACTED]|a");
}

#[test]
fn a_line_end_at_the_end_and_those_of_terminals_do_not_count() {
    assert_eq!(clean(&["hunter2\n"], "<hunter2>"), "<[REDACTED]>");
    assert_eq!(clean(&["hunter2\r\n"], "<hunter2>"), "<[REDACTED]>");
    assert_eq!(
        clean(&["one\ntwo\n"], "<one\r\ntwo\r\n>"),
        "<[REDACTED]\r\n>"
    );
    assert_eq!(clean(&["one\r\ntwo"], "<one\ntwo>"), "<[REDACTED]>");
    assert_eq!(clean(&["\n"], "a\nb"), "a\nb");
}

#[test]
fn the_lines_of_a_value_go_one_by_one_too() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADAN\r\n  BgkqhkiG9w0B\nshort\n-----END KEY-----\n";
    assert_eq!(clean(&[key], format!("<{key}>")), "<[REDACTED]\n>");
    assert_eq!(
        clean(
            &[key],
            "at BgkqhkiG9w0B, MIIEvQIBADAN: short\n-----BEGIN KEY-----"
        ),
        "at [REDACTED], [REDACTED]: short\n-----BEGIN KEY-----"
    );
    assert_eq!(clean(&["one line only"], "one line"), "one line");
}

#[test]
fn percent_encoding_goes_whichever_characters_it_encodes() {
    for encoded in [
        "s3cr3t-%2F%2Bt0ken%3F%3D%C3%A4%26x",
        "s3cr3t-/%2bt0ken?=%c3%a4%26x",
        "%73%33%63%72%33%74%2d%2f%2b%74%30%6b%65%6e%3f%3d%c3%a4%26%78",
    ] {
        assert_eq!(
            clean(&[TOKEN], format!("a=%{encoded}&b")),
            "a=%[REDACTED]&b"
        );
    }
    let spaced = "my long pass+word 100%41";
    for encoded in [
        "my+long+pass%2Bword+100%2541",
        "my%20long%20pass%2Bword%20100%2541",
        spaced,
    ] {
        assert_eq!(clean(&[spaced], encoded), REDACTED);
    }
}

#[test]
fn base64_goes_at_every_alignment_in_both_alphabets_and_over_lines() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    for before in ["", "1", "12", "123", "user:"] {
        for after in ["", "\n", "12", "123"] {
            let text = format!("{before}{TOKEN}{after}");
            for encoded in [STANDARD.encode(&text), URL_SAFE.encode(&text)] {
                for width in [4, 5, 76] {
                    let lines: Vec<&str> = encoded
                        .as_bytes()
                        .chunks(width)
                        .map(|line| std::str::from_utf8(line).unwrap())
                        .collect();
                    for end in ["\n", "\r\n"] {
                        let shown = clean(&[TOKEN], lines.join(end));
                        assert!(
                            shown.contains(REDACTED),
                            "{before} {after} {width}: {shown}"
                        );
                        // Letters that other bytes have a part in may stay.
                        assert!(shown.len() < REDACTED.len() + 24, "{shown}");
                    }
                }
            }
        }
    }
}

#[test]
fn short_values_are_not_looked_for_in_other_forms() {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode("1234567");
    assert_eq!(clean(&["1234567"], &encoded), encoded);
    assert_eq!(
        clean(&["1234567"], "%31%32%33%34%35%36%37"),
        "%31%32%33%34%35%36%37"
    );
}

#[test]
fn only_what_may_be_the_beginning_of_a_value_waits() {
    let redaction = Redaction::of(["hunter2x"]);
    let mut redactor = redaction.redactor();
    assert_eq!(&*redactor.push(b"user hun"), b"user ");
    assert_eq!(redactor.held(), 3);
    assert_eq!(&*redactor.push(b"t it"), b"hunt it");
    assert_eq!(redactor.held(), 0);
    assert_eq!(&*redactor.push(b" is hunter2x"), b" is [REDACTED]");
    assert_eq!(redactor.held(), 0);
    assert!(matches!(redactor.push(b"other"), Cow::Borrowed(b"other")));
    assert_eq!(&*redactor.push(b"hunte"), b"");
    assert_eq!(redactor.finish(), b"hunte");
    assert_eq!(&*redactor.push(b"hunter2x!"), b"[REDACTED]!");
}

/// A stream that always might go on to a value must not make us keep it all.
#[test]
fn what_is_held_back_has_a_bound() {
    let redaction = Redaction::of(["AAAAAAAAAAAAAAAB", "bbbbbbbbb"]);
    let mut redactor = redaction.redactor();
    for piece in [&b"A\n\n\n"[..], b"A", b"b", b"\r\r\r", b"%", b"%4", b"A\r"] {
        for _ in 0..5000 {
            redactor.push(piece);
            assert!(redactor.held() < 200, "{piece:?}: {}", redactor.held());
        }
    }
}

#[test]
fn any_bytes_with_any_values_come_out_without_them() {
    let mut seed = 7_u64;
    let mut roll = |sides: u64| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) % sides
    };
    const LETTERS: &[u8] = b"ab%4\n+\r";
    for _ in 0..2000 {
        let mut word = |letters: u64, longest| -> String {
            let length = 1 + roll(longest);
            (0..length)
                .map(|_| char::from(LETTERS[roll(letters) as usize]))
                .collect()
        };
        let values = [word(6, 3), word(6, 12)];
        let text = word(7, 60);
        let shown = clean(&[&values[0], &values[1]], &text);
        let shown = shown.replace(REDACTED, "|");
        for value in values {
            let value = value.strip_suffix('\n').unwrap_or(&value);
            assert!(
                value.is_empty() || !shown.contains(value),
                "{value:?} of {text:?} in {shown:?}"
            );
        }
        for part in shown.split('|') {
            assert!(text.contains(part), "{part:?} is not of {text:?}");
        }
    }
}

#[test]
fn what_was_let_go_early_does_not_save_the_rest_of_a_value() {
    let redaction = Redaction::of(["secret-value"]);
    let mut redactor = redaction.redactor();
    let mut shown = redactor.push(b"a s").into_owned();
    assert_eq!(shown, b"a ");
    shown.extend(redactor.release(3));
    assert_eq!(shown, b"a s");
    // One letter at a time, as it is typed, and each time nothing follows for a while.
    for letter in "ecret-value, and so on".bytes() {
        shown.extend_from_slice(&redactor.push(&[letter]));
        shown.extend(redactor.release(3));
    }
    shown.extend(redactor.finish());
    assert_eq!(shown, b"a sec[REDACTED], and so on");

    // What looked like one and was none is all there.
    let mut shown = redactor.push(b"sec").into_owned();
    shown.extend(redactor.release(3));
    shown.extend_from_slice(&redactor.push(b"ret-valves secret-value"));
    shown.extend(redactor.finish());
    assert_eq!(shown, b"secret-valves [REDACTED]");
}
