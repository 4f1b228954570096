//! Which files a repository tracks, from its index (gitformat-index(5), versions 2 to 4). What git
//! tracks is never ignored, whatever a `.gitignore` says.

/// Before the name of an entry: times, device and the like, which are not looked at.
const FIXED: usize = 40;

/// Names of tracked files, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tracked(Vec<Vec<u8>>);

impl Tracked {
    /// Reads an index whose object names have so many bytes (20, or 32 with SHA-256). `None`: it is
    /// none, or damaged.
    pub(super) fn parse(index: &[u8], hash: usize) -> Option<Self> {
        let mut rest = index.strip_prefix(b"DIRC")?;
        let version = number(&mut rest)?;
        let count = number(&mut rest)?;
        if !(2..=4).contains(&version) {
            return None;
        }
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut name = Vec::new();
        for _ in 0..count {
            let before = rest.len();
            take(&mut rest, FIXED + hash)?;
            let flags = take(&mut rest, 2)?;
            if version >= 3 && flags[0] & 0x40 != 0 {
                take(&mut rest, 2)?;
            }
            if version == 4 {
                let shared = name.len().checked_sub(varint(&mut rest)?)?;
                name.truncate(shared);
            } else {
                name.clear();
            }
            let end = rest.iter().position(|&byte| byte == 0)?;
            name.extend_from_slice(take(&mut rest, end)?);
            take(&mut rest, 1)?;
            if version < 4 {
                // Filled up with zeros, of which the one at the end of the name is the first.
                let length = before - rest.len();
                take(&mut rest, length.next_multiple_of(8) - length)?;
            }
            if !name.is_empty() {
                names.push(name.clone());
            }
        }
        names.sort_unstable();
        Some(Self(names))
    }

    /// Whether it is tracked, or something in it is.
    pub(super) fn has(&self, name: &[u8], is_folder: bool) -> bool {
        if self
            .0
            .binary_search_by(|one| one.as_slice().cmp(name))
            .is_ok()
        {
            return true;
        }
        let inside = [name, b"/"].concat();
        let at = self.0.partition_point(|one| *one < inside);
        is_folder && self.0.get(at).is_some_and(|one| one.starts_with(&inside))
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let bytes = take(rest, 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Seven bits a byte, of which each but the last counts one more.
fn varint(rest: &mut &[u8]) -> Option<usize> {
    let mut value: usize = 0;
    loop {
        let byte = *take(rest, 1)?.first()?;
        value = value.checked_add(usize::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        value = value.checked_add(1)?.checked_mul(128)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(version: u32, entries: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = b"DIRC".to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend((entries.len() as u32).to_be_bytes());
        for (shared, name) in entries {
            let begin = bytes.len();
            bytes.extend([7; FIXED + 20]);
            bytes.extend([0, 0]);
            bytes.extend_from_slice(shared);
            bytes.extend_from_slice(name);
            bytes.push(0);
            while version < 4 && !(bytes.len() - begin).is_multiple_of(8) {
                bytes.push(0);
            }
        }
        bytes
    }

    #[test]
    fn tracked_names_are_read_from_all_versions() {
        let whole = index(2, &[(b"", b"a"), (b"", b"dir/b.log"), (b"", b"dir-x")]);
        let packed = index(
            4,
            &[(b"\0", b"a"), (b"\x01", b"dir/b.log"), (b"\x06", b"-x")],
        );
        let tracked = Tracked::parse(&whole, 20).unwrap();
        assert_eq!(Tracked::parse(&packed, 20).unwrap(), tracked);
        assert!(tracked.has(b"dir/b.log", false));
        assert!(tracked.has(b"dir", true));
        assert!(!tracked.has(b"dir", false));
        assert!(!tracked.has(b"di", true));
        assert!(tracked.has(b"dir-x", false));
        for length in 0..whole.len() {
            assert_eq!(Tracked::parse(&whole[..length], 20), None, "{length}");
        }
        assert_eq!(Tracked::parse(&index(4, &[(b"\x01", b"a")]), 20), None);
        assert_eq!(Tracked::parse(&index(5, &[]), 20), None);
    }
}
