//! The forms in which patches are written.

use super::*;

const OLD: &str = "one\ntwo\nthree\n";
const NEW: &str = "one\nTWO\nthree\n";
const BODY: &str = " one\n-two\n+TWO\n three\n";

#[test]
fn names_are_read_in_every_usual_form() {
    for (old, new) in [
        ("a/src/x", "b/src/x"),
        ("src/x", "src/x"),
        ("src/x", "b/src/x"),
        ("a/src/x", "src/x"),
        ("a/src/x", "a/src/x"),
        ("./src/x", "./src/x"),
        ("i/src/x", "w/src/x"),
        ("/workspace/src/x", "/workspace/src/x"),
        ("a/workspace/src/x", "b/workspace/src/x"),
        ("a//workspace/src/x", "b//workspace/src/x"),
        ("src/x.orig", "src/x"),
        (
            "a/src/x\t2024-05-01 10:00:00.000000000 +0200",
            "b/src/x\t2024-05-01",
        ),
        ("a/src/x 2024-05-01 10:00:00", "b/src/x 2024-05-01 10:00:00"),
        ("\"a/s\\162c/x\"", "\"b/src/x\""),
    ] {
        let patch = format!("--- {old}\n+++ {new}\n@@ -1,3 +1,3 @@\n{BODY}");
        assert_patched(&[("src/x", OLD)], &patch, &[("src/x", NEW)]);
    }
}

#[test]
fn a_folder_called_a_is_no_prefix_where_only_that_makes_sense() {
    let patch = format!("--- a/x\n+++ a/x\n@@ -1,3 +1,3 @@\n{BODY}");
    assert_patched(&[("a/x", OLD)], &patch, &[("a/x", NEW)]);
    let error = refusal(&[("a/x", OLD), ("x", OLD)], &patch);
    assert!(error.contains("/workspace/x or /workspace/a/x"), "{error}");
}

#[test]
fn what_stands_around_a_patch_is_passed_over() {
    for (before, after) in [
        ("", ""),
        ("Here is the fix:\n\n", "\n\nThat is all.\n- it works\n"),
        ("- first I thought\n\n```diff\n", "```\n\n- then I did\n"),
        ("~~~\n", "~~~\n"),
        ("Index: x\n=====\n", ""),
        ("diff -u x x\n", ""),
        (
            "From 1234 Mon Sep 17\nSubject: x\n---\n x | 2 +-\n\n",
            "-- \n2.47.3\n\n",
        ),
        ("\u{feff}", ""),
        ("*** a comment\n", ""),
    ] {
        let patch = format!("{before}--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n{BODY}{after}");
        assert_patched(&[("x", OLD)], &patch, &[("x", NEW)]);
    }
}

#[test]
fn heads_of_hunks_may_be_wrong_or_bare() {
    for head in [
        "@@ -1,3 +1,3 @@",
        "@@ -1,3 +1,3 @@ fn main()",
        "@@ -1,2 +1,2 @@",
        "@@ -1,7 +1,9 @@",
        "@@ -1 +1 @@",
        "@@ -77,3 +70,3 @@",
        "@@ -0,0 +1,3 @@",
        "@@ -1,3 +1,3",
        "@@",
        "@@ @@",
        "@@ ... @@",
        "@@ -,+ @@",
        "@@ fn main()",
        "@@ -99999999999999999999999,3 +1,3 @@",
    ] {
        for (file, end) in [("x", ""), ("y", "--- a/y\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n")] {
            let patch = format!("--- a/x\n+++ b/x\n{head}\n{BODY}{end}");
            let old = [("x", OLD), ("y", "a\n")];
            let y = if file == "y" { "b\n" } else { "a\n" };
            assert_patched(&old, &patch, &[("x", NEW), ("y", y)]);
        }
    }
}

#[test]
fn a_patch_needs_no_head_of_a_hunk_at_all() {
    let patch = format!("--- a/x\n+++ b/x\n{BODY}");
    assert_patched(&[("x", OLD)], &patch, &[("x", NEW)]);
    let patch = "--- /dev/null\n+++ b/x\n+one\n+two\n\n--- a/y\n+++ b/y\n@@\n-a\n+b\n";
    assert_patched(&[("y", "a\n")], patch, &[("x", "one\ntwo\n"), ("y", "b\n")]);
}

#[test]
fn blank_lines_may_have_lost_their_space() {
    let patch = "--- a/x\n+++ b/x\n@@ -1,5 +1,5 @@\n a\n\n-b\n+B\n\n c\n";
    assert_patched(&[("x", "a\n\nb\n\nc\n")], patch, &[("x", "a\n\nB\n\nc\n")]);
    let uncounted = patch.replace("@@ -1,5 +1,5 @@", "@@ @@");
    assert_patched(
        &[("x", "a\n\nb\n\nc\n")],
        &uncounted,
        &[("x", "a\n\nB\n\nc\n")],
    );
}

#[test]
fn lines_with_signs_in_them_are_no_heads() {
    let old = "-- drop\n-- a/x\nselect\n";
    let patch =
        "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n--- drop\n--- a/x\n+++ take\n+++ b/y\n select\n";
    assert_patched(&[("x", old)], patch, &[("x", "++ take\n++ b/y\nselect\n")]);
}

#[test]
fn only_line_feeds_end_lines() {
    let old = "a\u{c}b\nc\u{2028}d\ne\rf\n";
    let patch =
        "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\u{c}b\n-c\u{2028}d\n+C\u{2028}\u{c}D\n e\rf\n";
    assert_patched(
        &[("x", old)],
        patch,
        &[("x", "a\u{c}b\nC\u{2028}\u{c}D\ne\rf\n")],
    );
}

#[test]
fn a_file_keeps_its_line_ends() {
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let patch = "--- a/x\n+++ b/x\n@@ -1,3 +1,4 @@\n one\n-two\n+TWO\n+more\n three\n";
    let new = "one\nTWO\nmore\nthree\n";
    assert_patched(&[("x", &crlf(OLD))], patch, &[("x", &crlf(new))]);
    assert_patched(&[("x", OLD)], &crlf(patch), &[("x", new)]);
    assert_patched(&[("x", &crlf(OLD))], &crlf(patch), &[("x", &crlf(new))]);
    // A patch that changes them is taken at its word.
    let patch = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-one\n-two\n+one\r\n+two\r\n";
    assert_patched(&[("x", "one\ntwo\n")], patch, &[("x", "one\r\ntwo\r\n")]);
}

#[test]
fn the_end_of_a_file_stays_as_it_is_unless_the_patch_says_otherwise() {
    let none = "\\ No newline at end of file\n";
    let head = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n one\n";
    for (old, body, new) in [
        ("one\ntwo", "-two\n+TWO\n".to_owned(), "one\nTWO"),
        ("one\ntwo\n", "-two\n+TWO\n".to_owned(), "one\nTWO\n"),
        ("one\ntwo", format!("-two\n{none}+TWO\n{none}"), "one\nTWO"),
        ("one\ntwo", format!("-two\n{none}+TWO\n"), "one\nTWO\n"),
        ("one\ntwo\n", format!("-two\n+TWO\n{none}"), "one\nTWO"),
        ("one\r\ntwo", "-two\n+TWO\n".to_owned(), "one\r\nTWO"),
        (
            "one\r\ntwo",
            " two\n+more\n".to_owned(),
            "one\r\ntwo\r\nmore",
        ),
        ("one\ntwo", " two\n+more\n".to_owned(), "one\ntwo\nmore"),
        ("one\ntwo", format!("-two\n{none}"), "one\n"),
    ] {
        assert_patched(&[("x", old)], &format!("{head}{body}"), &[("x", new)]);
    }
}

#[test]
fn files_are_made_and_deleted() {
    for (old, patch, new) in [
        (
            None,
            "--- /dev/null\n+++ b/x\n@@ -0,0 +1,2 @@\n+a\n+b\n",
            Some("a\nb\n"),
        ),
        (
            None,
            "--- /dev/null\n+++ x\n@@ -0,0 +1 @@\n+a\n\\ No newline at end of file\n",
            Some("a"),
        ),
        (None, "--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+a\n", Some("a\n")),
        (
            None,
            "diff --git a/x b/x\nnew file mode 100644\nindex 0000000..e69de29\n",
            Some(""),
        ),
        (
            None,
            "diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n",
            Some("a\n"),
        ),
        (
            Some(""),
            "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n",
            Some("a\n"),
        ),
        (
            Some(""),
            "--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+a\n",
            Some("a\n"),
        ),
        (
            Some("a\n"),
            "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n",
            None,
        ),
        (Some(""), "--- a/x\n+++ /dev/null\n", None),
        (
            Some(""),
            "diff --git a/x b/x\ndeleted file mode 100644\n",
            None,
        ),
        (
            Some("a"),
            "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n\\ No newline at end of file\n",
            None,
        ),
        (
            Some("a\n"),
            "--- a/x\n+++ b/x\n@@ -1 +0,0 @@\n-a\n",
            Some(""),
        ),
    ] {
        let old: Vec<_> = old.map(|old| ("x", old)).into_iter().collect();
        let new: Vec<_> = new.map(|new| ("x", new)).into_iter().collect();
        assert_patched(&old, patch, &new);
    }
}

#[test]
fn files_are_renamed_and_copied() {
    let head = "diff --git a/x b/y\nsimilarity index 90%\nrename from x\nrename to y\n";
    assert_patched(&[("x", OLD)], head, &[("y", OLD)]);
    let edits = format!("{head}index 1..2 100644\n--- a/x\n+++ b/y\n@@ -1,3 +1,3 @@\n{BODY}");
    assert_patched(&[("x", OLD)], &edits, &[("y", NEW)]);
    let bare = "rename from x\nrename to y\n";
    assert_patched(&[("x", OLD)], bare, &[("y", OLD)]);
    let prefixed = "diff --git a/x b/y\nrename from a/x\nrename to b/y\n";
    assert_patched(&[("x", OLD)], prefixed, &[("y", OLD)]);
    let copied = head.replace("rename", "copy");
    assert_patched(&[("x", OLD)], &copied, &[("x", OLD), ("y", OLD)]);

    let plan = planned(&tree(&[("x", OLD)]), edits.as_bytes()).unwrap();
    let told: Vec<_> = plan
        .changes
        .iter()
        .map(|c| (c.path.as_slice(), c.status))
        .collect();
    assert_eq!(
        told,
        [(b"x".as_slice(), Status::Deleted), (b"y", Status::Added)]
    );
    assert_eq!(
        plan.changes[1].renamed_from.as_deref(),
        Some(b"x".as_slice())
    );
}

#[test]
fn two_files_change_places() {
    let patch = "diff --git a/x b/y\nrename from x\nrename to y\n\
                 diff --git a/y b/x\nrename from y\nrename to x\n";
    assert_patched(
        &[("x", "1\n"), ("y", "2\n")],
        patch,
        &[("x", "2\n"), ("y", "1\n")],
    );
}

#[test]
fn later_sections_see_what_earlier_ones_did() {
    let patch = "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n\
                 --- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n one\n-TWO\n+2\n three\n\
                 --- a/x\n+++ /dev/null\n@@\n-one\n-2\n-three\n\
                 --- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+new\n";
    assert_patched(&[("x", OLD)], patch, &[("x", "new\n")]);
}

#[test]
fn modes_change_as_git_and_as_pyro_write_them() {
    for (mode, patch, wanted) in [
        (0o644, "old mode 100644\nnew mode 100755\n", 0o755),
        (0o640, "old mode 100644\nnew mode 100755\n", 0o750),
        (0o775, "old mode 100755\nnew mode 100644\n", 0o664),
        (0o600, "old mode 100600\nnew mode 100644\n", 0o644),
        (0o644, "old mode 100644\nnew mode 100600\n", 0o600),
        (
            0o755,
            "index 1..2 100755\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
            0o755,
        ),
    ] {
        let content: Arc<[u8]> = b"a\n".as_slice().into();
        let tree = Tree::from([(b"x".to_vec(), Node::File { content, mode })]);
        let plan = planned(&tree, format!("diff --git a/x b/x\n{patch}").as_bytes()).unwrap();
        let [change] = plan.changes.try_into().unwrap();
        match change {
            FileChange {
                after: Node::File { mode, .. },
                ..
            } if change_is(mode, wanted) => {}
            other => panic!("{patch}: {other:?}"),
        }
    }
    let made = "diff --git a/x b/x\nnew file mode 100755\n";
    let plan = planned(&Tree::new(), made.as_bytes()).unwrap();
    assert!(matches!(
        plan.changes[0].after,
        Node::File { mode: 0o755, .. }
    ));
}

fn change_is(mode: u32, wanted: u32) -> bool {
    assert_eq!(mode, wanted, "{mode:o} is not {wanted:o}");
    true
}

#[test]
fn links_are_made_changed_and_deleted() {
    let link = |target: &str| Node::Link {
        target: target.into(),
    };
    let none = "\\ No newline at end of file\n";
    let made = format!(
        "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+x\n{none}"
    );
    let plan = planned(&Tree::new(), made.as_bytes()).unwrap();
    assert_eq!(plan.changes[0].after, link("x"));

    let tree = Tree::from([(b"l".to_vec(), link("x"))]);
    let body = format!("--- a/l\n+++ b/l\n@@ -1 +1 @@\n-x\n{none}+y\n{none}");
    let changed = format!("diff --git a/l b/l\nindex 1..2 120000\n{body}");
    let plan = planned(&tree, changed.as_bytes()).unwrap();
    assert_eq!(plan.changes[0].after, link("y"));
    // hg shows the whole target, and says nothing of a link.
    let plan = planned(&tree, body.as_bytes()).unwrap();
    assert_eq!(plan.changes[0].after, link("y"));
    let other = body.replacen("-x", "-the text of x", 1);
    let error = planned(&tree, other.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("/workspace/l is a symbolic link to x; patch that file"),
        "{error}"
    );

    let gone = "diff --git a/l b/l\ndeleted file mode 120000\n";
    let plan = planned(&tree, gone.as_bytes()).unwrap();
    assert_eq!(plan.changes[0].after, Node::Missing);
}

#[test]
fn files_need_not_be_utf8() {
    let tree = Tree::from([(b"caf\xe9".to_vec(), file(b"gar\xe7on\nfille\n"))]);
    let patch = b"--- \"a/caf\\351\"\n+++ \"b/caf\\351\"\n@@ -1,2 +1,2 @@\n gar\xe7on\n-fille\n+\xe9l\xe8ve\n";
    let plan = planned(&tree, patch).unwrap();
    assert_eq!(plan.changes[0].after, file(b"gar\xe7on\n\xe9l\xe8ve\n"));
}

#[test]
fn changes_come_by_path_each_once() {
    let patch =
        "--- /dev/null\n+++ b/z\n+1\n--- /dev/null\n+++ b/m\n+1\n--- a/k\n+++ /dev/null\n@@\n-1\n";
    let plan = planned(&tree(&[("k", "1\n")]), patch.as_bytes()).unwrap();
    let paths: Vec<_> = plan
        .changes
        .iter()
        .map(|change| change.path.as_slice())
        .collect();
    assert_eq!(paths, [b"k", b"m", b"z"]);
    // What comes out as it was is no change.
    let patch = "--- a/k\n+++ b/k\n@@\n-1\n+2\n--- a/k\n+++ b/k\n@@\n-2\n+1\n";
    let plan = planned(&tree(&[("k", "1\n")]), patch.as_bytes()).unwrap();
    assert_eq!(plan.changes, []);
}
