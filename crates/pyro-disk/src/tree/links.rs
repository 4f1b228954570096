//! Follows links, inside the tree only.

use std::collections::VecDeque;

use super::Tree;
use crate::entry::FileKind;
use crate::error::TreeError;
use crate::names::escaped;

/// As many links as Linux follows on the way to one file.
const MOST_LINKS: u32 = 40;

/// The longest path, in bytes.
const LONGEST: usize = 4096;

impl Tree {
    /// The plain path of what a path leads to, relative to the root of the tree, which is also
    /// where absolute links begin and `..` ends. A link at the end of the path is followed only
    /// when that is asked for.
    pub fn resolve(&self, path: &[u8], follow_last: bool) -> Result<Vec<u8>, TreeError> {
        let endless = || TreeError::Endless {
            name: escaped(path),
        };
        let mut ahead: VecDeque<Vec<u8>> = parts(path).collect();
        let mut plain: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            if part == b".." {
                let up = plain.iter().rposition(|&byte| byte == b'/');
                plain.truncate(up.unwrap_or_default());
                continue;
            }
            let above = plain.len();
            if above > 0 {
                plain.push(b'/');
            }
            plain.extend_from_slice(&part);
            if plain.len() > LONGEST {
                return Err(endless());
            }
            let stat = self
                .stat(&plain)?
                .ok_or_else(|| TreeError::not_found(path))?;
            if stat.kind != FileKind::Symlink || (ahead.is_empty() && !follow_last) {
                continue;
            }
            links += 1;
            let target = self.target(&plain)?;
            if links > MOST_LINKS || target.len() > LONGEST {
                return Err(endless());
            }
            plain.truncate(match target.first() {
                Some(b'/') => 0,
                _ => above,
            });
            for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(part);
            }
        }
        Ok(plain)
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
}
