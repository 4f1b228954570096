//! Everything that is in a folder of a tree, and in the folders below.

use std::collections::HashSet;

use super::Tree;
use crate::entry::{Count, FileKind, Stat};
use crate::error::TreeError;
use crate::names::escaped;

/// A guest could make more than this host has time for.
const MOST_ENTRIES: u64 = 5_000_000;

/// The longest path, in bytes.
const LONGEST: usize = 64 * 1024;

impl Tree {
    /// Shows all that is below a folder, what is in a folder right after it. No folder is shown
    /// twice, whatever a damaged disk says.
    pub fn walk(&self, folder: &[u8], mut show: impl FnMut(&[u8], &Stat)) -> Result<(), TreeError> {
        let mut seen = HashSet::new();
        let mut listed = 0;
        // The last is the next, so that what is in a folder comes before its neighbours.
        let mut ahead: Vec<(Vec<u8>, Stat)> = Vec::new();
        let mut open = Some(folder.to_vec());
        loop {
            if let Some(path) = open.take() {
                for entry in self.list(&path)?.into_iter().rev() {
                    listed += 1;
                    let is_folder = entry.stat.kind == FileKind::Directory;
                    if is_folder && !seen.insert(entry.inode) {
                        return Err(TreeError::Damaged {
                            what: "a folder is in two places",
                        });
                    }
                    let below = match path.as_slice() {
                        b"" => entry.name,
                        path => [path, b"/", &entry.name].concat(),
                    };
                    if listed > MOST_ENTRIES || below.len() > LONGEST {
                        return Err(TreeError::TooLarge {
                            name: escaped(folder),
                        });
                    }
                    ahead.push((below, entry.stat));
                }
            }
            let Some((path, stat)) = ahead.pop() else {
                return Ok(());
            };
            show(&path, &stat);
            if stat.kind == FileKind::Directory {
                open = Some(path);
            }
        }
    }

    /// How much is below a folder; nothing where there is none.
    pub fn count(&self, folder: &[u8]) -> Result<Count, TreeError> {
        let mut count = Count::default();
        if self
            .stat(folder)?
            .is_none_or(|stat| stat.kind != FileKind::Directory)
        {
            return Ok(count);
        }
        self.walk(folder, |_, stat| {
            count.entries += u64::from(stat.kind != FileKind::Special);
            if stat.kind == FileKind::File {
                count.bytes = count.bytes.saturating_add(stat.size);
            }
        })?;
        Ok(count)
    }
}
