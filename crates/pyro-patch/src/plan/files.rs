//! The picture of the files while a patch is planned, and what has changed in it at the end.

use std::collections::BTreeMap;

use crate::change::{FileChange, Node, Status};
use crate::error::PatchError;
use crate::limits::MAX_RESULT;
use crate::root::absolute;

/// Asks for what was at a path before the patch.
pub(crate) type Old<'o> = dyn Fn(&[u8]) -> Node + 'o;

/// The files as the sections so far have left them.
pub(crate) struct Files<'o> {
    old: &'o Old<'o>,
    now: BTreeMap<Vec<u8>, Node>,
    /// Files that a later section moves, while another is at their path already.
    pub(crate) displaced: BTreeMap<Vec<u8>, Node>,
    /// Where renamed files were.
    pub(crate) origins: BTreeMap<Vec<u8>, Vec<u8>>,
    total: usize,
}

impl<'o> Files<'o> {
    pub(crate) fn new(old: &'o Old<'o>) -> Self {
        Self {
            old,
            now: BTreeMap::new(),
            displaced: BTreeMap::new(),
            origins: BTreeMap::new(),
            total: 0,
        }
    }

    pub(crate) fn before(&self, path: &[u8]) -> Node {
        (self.old)(path)
    }

    pub(crate) fn is_before(&self, path: &[u8]) -> bool {
        self.before(path) != Node::Missing
    }

    pub(crate) fn node(&self, path: &[u8]) -> Node {
        match self.now.get(path) {
            Some(node) => node.clone(),
            None => self.before(path),
        }
    }

    pub(crate) fn is_gone(&self, path: &[u8]) -> bool {
        self.now.get(path) == Some(&Node::Missing)
    }

    pub(crate) fn put(&mut self, path: Vec<u8>, node: Node) -> Result<(), PatchError> {
        let size = |node: &Node| match node {
            Node::File { content, .. } => content.len(),
            _ => 0,
        };
        self.total += size(&node);
        if let Some(replaced) = self.now.insert(path, node) {
            self.total -= size(&replaced);
        }
        match self.total > MAX_RESULT {
            true => Err(PatchError::TooMuch),
            false => Ok(()),
        }
    }

    pub(crate) fn changes(self) -> Result<Vec<FileChange>, PatchError> {
        let is_made = |path: &[u8]| {
            let node = self.now.get(path);
            matches!(node, Some(Node::File { .. } | Node::Link { .. }))
        };
        let mut changes = Vec::new();
        for (path, after) in &self.now {
            let slashes = (0..path.len()).filter(|at| path[*at] == b'/');
            if is_made(path)
                && let Some(slash) = slashes.into_iter().find(|slash| is_made(&path[..*slash]))
            {
                return Err(PatchError::Nested {
                    path: absolute(&path[..slash]),
                    below: absolute(path),
                });
            }
            let before = self.before(path);
            let status = match (&before, after) {
                _ if before == *after => continue,
                (Node::Missing, _) => Status::Added,
                (_, Node::Missing) => Status::Deleted,
                _ => Status::Modified,
            };
            let origin = self.origins.get(path);
            let renamed_from = origin.filter(|from| !is_made(from)).cloned();
            changes.push(FileChange {
                path: path.clone(),
                status,
                after: after.clone(),
                renamed_from,
            });
        }
        Ok(changes)
    }
}
