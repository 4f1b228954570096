//! Patches as they come, hostile ones, and the way from a text diff back to the file.

mod begin_patch;
mod below;
mod binary;
mod cut;
mod forms;
mod from_git;
mod from_tools;
mod hostile;
mod places;
mod refused;
mod round_trip;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    FileChange, Format, Leniency, MAX_FILE, MAX_PATCH, Node, Note, Patch, PatchError, Plan, Status,
};

type Tree = BTreeMap<Vec<u8>, Node>;

pub(super) fn file(content: impl AsRef<[u8]>) -> Node {
    Node::File {
        content: content.as_ref().into(),
        mode: 0o644,
    }
}

pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
    files
        .iter()
        .map(|(path, content)| (path.as_bytes().to_vec(), file(content)))
        .collect()
}

/// Plans as the engine does: with what was read before, and nothing else.
pub(super) fn planned(tree: &Tree, patch: &[u8]) -> Result<Plan, PatchError> {
    let patch = Patch::parse(patch)?;
    let reads = patch.reads()?;
    patch.plan(|path| {
        assert!(reads.contains(path), "{} was not read", path.escape_ascii());
        tree.get(path).cloned().unwrap_or(Node::Missing)
    })
}

pub(super) fn carried_out(tree: &Tree, plan: &Plan) -> Tree {
    let mut tree = tree.clone();
    for change in &plan.changes {
        match &change.after {
            Node::Missing => tree.remove(&change.path),
            node => tree.insert(change.path.clone(), node.clone()),
        };
    }
    tree
}

/// The text of each file after the patch.
#[track_caller]
pub(super) fn patched(files: &[(&str, &str)], patch: &str) -> Vec<(String, String)> {
    let tree = tree(files);
    let plan = planned(&tree, patch.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    carried_out(&tree, &plan)
        .into_iter()
        .map(|(path, node)| {
            let Node::File { content, .. } = node else {
                panic!("{node:?} is no file");
            };
            (words(&path), words(&content))
        })
        .collect()
}

#[track_caller]
pub(super) fn refusal(files: &[(&str, &str)], patch: &str) -> String {
    match planned(&tree(files), patch.as_bytes()) {
        Ok(plan) => panic!("taken, with {} changes", plan.changes.len()),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
pub(super) fn assert_patched(files: &[(&str, &str)], patch: &str, wanted: &[(&str, &str)]) {
    let patched = patched(files, patch);
    let patched: Vec<(&str, &str)> = patched
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(patched, wanted);
}

/// The files and links below a folder, without git's own.
pub(super) fn read_tree(folder: &std::path::Path) -> Tree {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    let mut tree = Tree::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inside) = folders.pop() {
        for entry in std::fs::read_dir(&inside).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(folder).unwrap().as_os_str();
            if name == ".git" {
                continue;
            }
            let node = if meta.is_dir() {
                folders.push(path.clone());
                Node::Folder
            } else if meta.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                Node::Link {
                    target: target.as_os_str().as_bytes().to_vec(),
                }
            } else {
                Node::File {
                    content: std::fs::read(&path).unwrap().into(),
                    mode: meta.permissions().mode() & 0o777,
                }
            };
            tree.insert(name.as_bytes().to_vec(), node);
        }
    }
    tree
}

/// Only what is no folder: patches do not speak of those.
pub(super) fn without_folders(mut tree: Tree) -> Tree {
    tree.retain(|_, node| *node != Node::Folder);
    tree
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
