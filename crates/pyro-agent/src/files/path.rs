//! Paths below the workspace: any bytes, but never a way out.

use crate::files::error::FileError;

/// How deep folders may be nested. Each level costs a descriptor while it is looked at.
pub(crate) const DEPTH: usize = 250;

/// What ext4 and its like allow for one name.
const NAME: usize = 255;

/// Without `.`, empty parts and a slash at the end; empty for the workspace itself.
pub(crate) fn normalize(path: &[u8]) -> Result<Vec<u8>, FileError> {
    if path.contains(&0) {
        return Err(FileError::bad_path(path, "it contains a NUL byte"));
    }
    if path.starts_with(b"/") {
        return Err(FileError::bad_path(path, "it is absolute"));
    }
    let mut normalized = Vec::with_capacity(path.len());
    let mut depth = 0;
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(FileError::bad_path(path, "it contains `..`")),
            part if part.len() > NAME => {
                return Err(FileError::bad_path(path, "a name in it is too long"));
            }
            part => push(&mut normalized, part),
        }
        depth += 1;
    }
    if depth > DEPTH {
        return Err(too_deep(path));
    }
    Ok(normalized)
}

pub(crate) fn too_deep(path: &[u8]) -> FileError {
    FileError::bad_path(path, format!("it is deeper than {DEPTH} folders"))
}

/// Appends a name, or a whole path, to a path.
pub(crate) fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(folder.len() + 1 + name.len());
    path.extend_from_slice(folder);
    push(&mut path, name);
    path
}

/// The folder of a normalized path, and the name in it.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalized_and_never_lead_out() {
        for (path, expected) in [
            ("", ""),
            (".", ""),
            ("a//b/./c/", "a/b/c"),
            ("./~/ x ", "~/ x "),
            ("...", "..."),
        ] {
            assert_eq!(normalize(path.as_bytes()).unwrap(), expected.as_bytes());
        }
        let long = "x".repeat(NAME + 1);
        let deep = "d/".repeat(DEPTH + 1);
        for path in ["/etc", "..", "a/../b", "a/..", "a\0b", &long, &deep] {
            assert!(normalize(path.as_bytes()).is_err(), "{path}");
        }
        assert!(normalize("d/".repeat(DEPTH).as_bytes()).is_ok());
        assert_eq!(normalize(b"\xff\n'\"").unwrap(), b"\xff\n'\"");
    }

    #[test]
    fn paths_are_split_and_joined() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert_eq!(join(b"", b"a"), b"a");
        assert_eq!(join(b"a", b"b"), b"a/b");
        assert_eq!(join(b"a", b""), b"a");
    }
}
