//! Who runs a command: `NAME`, `UID`, or one of these with `:GROUP` or `:GID` behind it, as in the `User`
//! of an image. Names are those of the guest's `/etc/passwd` and `/etc/group`; a number needs no entry.

/// What stands before and behind the colon. What is empty is root, or the group of the user.
pub fn parts(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b':') {
        None => (text, None),
        Some(at) => {
            let (user, group) = (&text[..at], &text[at + 1..]);
            (user, (!group.is_empty()).then_some(group))
        }
    }
}

/// The largest id that Linux gives away: the one above it means "as it is".
pub const LARGEST_ID: u32 = u32::MAX - 1;

/// The id that a text is, if it is one.
pub fn id(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse().ok().filter(|id| *id <= LARGEST_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_group_are_told_apart() {
        assert_eq!(parts(b"app"), (&b"app"[..], None));
        assert_eq!(parts(b"app:"), (&b"app"[..], None));
        assert_eq!(parts(b":7"), (&b""[..], Some(&b"7"[..])));
        assert_eq!(parts(b"1:a:b"), (&b"1"[..], Some(&b"a:b"[..])));
    }

    #[test]
    fn an_id_is_digits_below_the_last_number() {
        assert_eq!(id(b"0"), Some(0));
        assert_eq!(id(b"4294967294"), Some(LARGEST_ID));
        for other in ["", "+1", "-1", "1a", "4294967295", "99999999999"] {
            assert_eq!(id(other.as_bytes()), None, "{other}");
        }
    }
}
