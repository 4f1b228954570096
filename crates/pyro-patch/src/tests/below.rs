//! Names that begin at the root of the repository of which the seed is a folder.

use super::*;
use crate::diff::{Side, text_diff};

/// As the engine does when `/workspace` has no such folder.
fn taken(files: &Tree, folder: &str, patch: &[u8]) -> Result<Option<Tree>, PatchError> {
    let mut patch = Patch::parse(patch)?;
    if !patch.mentions_folder(folder) {
        return Ok(None);
    }
    patch.strip_folder(folder)?;
    let reads = patch.reads()?;
    let plan = patch.plan(|path| {
        assert!(reads.contains(path), "{} was not read", path.escape_ascii());
        files.get(path).cloned().unwrap_or(Node::Missing)
    })?;
    Ok(Some(carried_out(files, &plan)))
}

#[test]
fn what_a_diff_puts_before_names_is_taken_off_again() {
    let file = |content| Side::File {
        content,
        mode: 0o644,
    };
    // Removed and added, these lines look like a head.
    let (old, new) = (b"-- a/sub/x\nb\n", b"++ b/sub/x\nb\n");
    for path in [
        "x",
        "a b/c",
        "q\"uote",
        "d\u{e9}j\u{e0}",
        "sub/x",
        "a b/b/sub/c",
    ] {
        for (before, after) in [
            (file(old.as_slice()), file(new.as_slice())),
            (Side::Absent, file(b"new")),
            (file(b""), Side::Absent),
        ] {
            let node = |side: &Side<'_>| match side {
                Side::File { content, .. } => Some(super::file(*content)),
                _ => None,
            };
            let of = |node| Tree::from_iter([path.as_bytes().to_vec()].into_iter().zip(node));
            let (there, wanted) = (of(node(&before)), of(node(&after)));
            let patch = text_diff(format!("s/api/{path}").as_bytes(), before, after).unwrap();
            let taken = taken(&there, "s/api", &patch).unwrap();
            assert!(taken == Some(wanted), "{}", patch.escape_ascii());
        }
    }
}

#[test]
fn it_is_taken_off_in_every_form() {
    let there = tree(&[("x", "a\n"), ("gone", "a\n")]);
    let edit = "@@ -1 +1 @@\n-a\n+b\n";
    let made = "@@ -0,0 +1 @@\n+n\n";
    let gone = "@@ -1 +0,0 @@\n-a\n";
    for (patch, path, wanted) in [
        (format!("--- a/s/api/x\n+++ b/s/api/x\n{edit}"), "x", "b\n"),
        (format!("--- s/api/x\n+++ s/api/x\n{edit}"), "x", "b\n"),
        (format!("--- ./s/api/x\n+++ ./s/api/x\n{edit}"), "x", "b\n"),
        (format!("diff --git i/s/api/x w/s/api/x\n--- i/s/api/x\n+++ w/s/api/x\n{edit}"), "x", "b\n"),
        (format!("diff --git s/api/x s/api/x\n--- s/api/x\n+++ s/api/x\n{edit}"), "x", "b\n"),
        (format!("--- one/s/api/x\n+++ two/s/api/x\n{edit}"), "x", "b\n"),
        (format!("diff --git c/s/api/n w/s/api/n\nnew file mode 100644\n--- /dev/null\n+++ w/s/api/n\n{made}"), "n", "n\n"),
        (format!("diff --git s/api/n s/api/n\nnew file mode 100644\n--- /dev/null\n+++ s/api/n\n{made}"), "n", "n\n"),
        ("diff --git i/s/api/n w/s/api/n\nnew file mode 100644\nindex 0000000..e69de29\n".to_owned(), "n", ""),
        (format!("--- /dev/null\n+++ b/s/api/n\n{made}"), "n", "n\n"),
        (format!("--- /dev/null\n+++ s/api/n\n{made}"), "n", "n\n"),
        (format!("--- /dev/null\n+++ w/s/api/n\n{made}"), "n", "n\n"),
        (format!("--- i/s/api/gone\n+++ /dev/null\n{gone}"), "gone", ""),
        ("diff --git i/s/api/gone w/s/api/n\nrename from s/api/gone\nrename to s/api/n\n".to_owned(), "n", "a\n"),
        ("*** Begin Patch\n*** Add File: s/api/d/n\n+n\n*** End Patch\n".to_owned(), "d/n", "n\n"),
        ("*** Begin Patch\n*** Update File: s/api/x\n*** Move to: s/api/n\n@@\n-a\n+b\n*** End Patch\n".to_owned(), "n", "b\n"),
    ] {
        let taken = taken(&there, "s/api", patch.as_bytes()).unwrap_or_else(|error| panic!("{patch}{error}"));
        let taken = taken.unwrap_or_else(|| panic!("{patch} has no such name"));
        let node = taken.get(path.as_bytes());
        match path {
            "gone" => assert_eq!(node, None, "{patch}"),
            _ => assert_eq!(node, Some(&file(wanted)), "{patch}"),
        }
    }
}

#[test]
fn other_names_are_left_alone() {
    let there = tree(&[("x", "a\n")]);
    let edit = "@@ -1 +1 @@\n-a\n+b\n";
    for patch in [
        format!("--- a/x\n+++ b/x\n{edit}"),
        format!("--- a/s/apix\n+++ b/s/apix\n{edit}"),
        format!("--- a/t/s/api/x\n+++ b/t/s/api/x\n{edit}"),
        format!("--- /workspace/s/api/x\n+++ /workspace/s/api/x\n{edit}"),
        "*** Begin Patch\n*** Add File: /workspace/s/api/n\n+n\n*** End Patch\n".to_owned(),
    ] {
        assert_eq!(
            taken(&there, "s/api", patch.as_bytes()).unwrap(),
            None,
            "{patch}"
        );
    }
}

#[test]
fn a_patch_that_leaves_the_folder_is_refused() {
    let made = "--- /dev/null\n+++ b/s/api/n\n@@ -0,0 +1 @@\n+n\n";
    for other in [
        "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
        "--- /dev/null\n+++ b/s/n\n@@ -0,0 +1 @@\n+n\n",
        "diff --git a/s/api/x b/lib/x\nrename from s/api/x\nrename to lib/x\n",
    ] {
        for patch in [format!("{made}{other}"), format!("{other}{made}")] {
            let error = taken(&tree(&[("x", "a\n")]), "s/api", patch.as_bytes()).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("is not below `s/api/`"), "{patch}{error}");
        }
    }
}
