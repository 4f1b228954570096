//! Paths and other bytes, as messages for people show them.

use crate::backend::WORKSPACE;

/// The path as the guest sees it, on one line, whatever it holds.
pub(crate) fn path(path: &[u8]) -> String {
    let mut shown = String::from(WORKSPACE);
    if !path.is_empty() && !path.starts_with(b"/") {
        shown.push('/');
    } else if !path.is_empty() {
        shown.clear();
    }
    shown.push_str(&bytes(path));
    shown
}

/// Bytes of any kind, on one line.
pub(crate) fn bytes(bytes: &[u8]) -> String {
    let mut line = String::new();
    for character in String::from_utf8_lossy(bytes).chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_on_one_line() {
        assert_eq!(path(b""), "/workspace");
        assert_eq!(path(b"a\nb\x1b"), "/workspace/a\\nb\\u{1b}");
        assert_eq!(path(b"\xff"), "/workspace/\u{fffd}");
        assert_eq!(path(b"/etc"), "/etc");
    }
}
