//! Names inside a workspace: bytes from an archive, a guest or a disk, checked before they are
//! used and escaped before they are shown.

use std::fmt::Write as _;

/// The longest name of one file or folder on Linux.
const MAX_PART: usize = 255;

/// The longest path that a system call takes, without its terminating zero.
pub(crate) const MAX_PATH: usize = 4095;

/// Why a name cannot be that of something below a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidName {
    #[error("it is absolute")]
    Absolute,
    #[error("it contains `..`")]
    Parent,
    #[error("it contains a NUL byte")]
    Zero,
    #[error("it is longer than Linux allows")]
    TooLong,
}

/// The plain form of a relative name: without `.` parts and doubled or final slashes. Empty for
/// the folder itself.
pub(crate) fn relative(name: &[u8]) -> Result<Vec<u8>, InvalidName> {
    if name.first() == Some(&b'/') {
        return Err(InvalidName::Absolute);
    }
    if name.contains(&0) {
        return Err(InvalidName::Zero);
    }
    let mut plain = Vec::with_capacity(name.len());
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(InvalidName::Parent),
            _ if part.len() > MAX_PART => return Err(InvalidName::TooLong),
            _ => {}
        }
        if !plain.is_empty() {
            plain.push(b'/');
        }
        plain.extend_from_slice(part);
    }
    if plain.len() > MAX_PATH {
        return Err(InvalidName::TooLong);
    }
    Ok(plain)
}

/// Whether a link's target stays below the folder that the link's own name is relative to, as far
/// as words tell: other links on the way are not looked at.
pub(crate) fn stays_inside(link: &[u8], target: &[u8]) -> bool {
    if target.first() == Some(&b'/') {
        return false;
    }
    let mut depth = link.iter().filter(|&&byte| byte == b'/').count();
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return false,
            },
            _ => depth += 1,
        }
    }
    true
}

/// Splits a plain name into its folder and its last part.
pub(crate) fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (b"", name),
    }
}

/// A name for people: on one line, and without anything that a terminal would act on.
pub(crate) fn escaped(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() {
                text.extend(letter.escape_default());
            } else {
                text.push(letter);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_plain_or_refused() {
        for (name, plain) in [
            (&b"./a//b/"[..], &b"a/b"[..]),
            (b".", b""),
            (b"./", b""),
            (b"a\nb/\xff", b"a\nb/\xff"),
            (b"...", b"..."),
        ] {
            assert_eq!(relative(name).unwrap(), plain);
        }
        assert_eq!(relative(b"/etc"), Err(InvalidName::Absolute));
        assert_eq!(relative(b"a/../b"), Err(InvalidName::Parent));
        assert_eq!(relative(b"a\0b"), Err(InvalidName::Zero));
        assert_eq!(relative(&[b'x'; 256]), Err(InvalidName::TooLong));
        assert!(relative(&[b'x'; 255]).is_ok());
        assert_eq!(relative(&b"ab/".repeat(2000)), Err(InvalidName::TooLong));
    }

    #[test]
    fn a_link_may_climb_as_far_as_its_own_folder_is_deep() {
        assert!(stays_inside(b"a/b/link", b"../../c"));
        assert!(stays_inside(b"link", b"a/../b"));
        assert!(stays_inside(b"link", b"."));
        assert!(!stays_inside(b"a/link", b"../../c"));
        assert!(!stays_inside(b"link", b"a/../../a"));
        assert!(!stays_inside(b"link", b"/a"));
    }

    #[test]
    fn what_is_shown_is_one_harmless_line() {
        assert_eq!(escaped(b"a\n\x1b[2J\xff\xc3\xa9"), "a\\n\\u{1b}[2J\\xffé");
    }
}
