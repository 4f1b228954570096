//! Which lines of a log are shown.

use crate::machine::output::without_partial_start;

/// The last so many lines, and whether something comes before them.
pub(crate) fn tail(bytes: &[u8], lines: Option<u64>) -> (&[u8], bool) {
    let Some(mut wanted) = lines else {
        return (bytes, false);
    };
    // The newline at the very end belongs to the last line.
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    for (at, byte) in body.iter().enumerate().rev() {
        if *byte == b'\n' {
            wanted = wanted.saturating_sub(1);
            if wanted == 0 {
                return (&bytes[at + 1..], true);
            }
        }
    }
    (bytes, false)
}

/// What comes before the last so many lines.
pub(crate) fn without_newest(bytes: &[u8], lines: u64) -> &[u8] {
    if lines == 0 {
        return bytes;
    }
    let (newest, _) = tail(bytes, Some(lines));
    &bytes[..bytes.len() - newest.len()]
}

/// How many lines there are, the last one finished or not.
pub(crate) fn count(bytes: &[u8]) -> u64 {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    match bytes {
        b"" => 0,
        _ => 1 + body.iter().filter(|byte| **byte == b'\n').count() as u64,
    }
}

/// The last whole lines that have no more than so many bytes together.
pub(crate) fn bounded(bytes: &[u8], most: usize) -> (&[u8], bool) {
    if bytes.len() <= most {
        return (bytes, false);
    }
    let end = &bytes[bytes.len() - most..];
    match end.iter().position(|byte| *byte == b'\n') {
        Some(at) if at + 1 < end.len() => (&end[at + 1..], true),
        _ => (without_partial_start(end), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_has_whole_lines() {
        let log = b"one\ntwo\nthree\n";
        assert_eq!(tail(log, Some(1)), (&b"three\n"[..], true));
        assert_eq!(tail(log, Some(3)), (&log[..], false));
        assert_eq!(tail(log, None), (&log[..], false));
        assert_eq!(tail(b"a\nb", Some(1)), (&b"b"[..], true));
        assert_eq!(tail(b"", Some(1)), (&b""[..], false));
        assert_eq!(tail(b"\n\n", Some(1)), (&b"\n"[..], true));
        assert_eq!(without_newest(log, 0), log);
        assert_eq!(without_newest(log, 1), b"one\ntwo\n");
        assert_eq!(without_newest(log, 3), b"");
        assert_eq!(without_newest(log, 9), b"");
        assert_eq!(
            [b"" as &[u8], b"\n", b"a", b"a\nb", log].map(count),
            [0, 1, 1, 2, 3]
        );
        assert_eq!(bounded(log, 8), (&b"three\n"[..], true));
        assert_eq!(bounded(log, 3), (&b"ee\n"[..], true));
        assert_eq!(bounded(log, 100), (&log[..], false));
    }
}
