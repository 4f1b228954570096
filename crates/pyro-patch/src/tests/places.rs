//! Where hunks go that do not fit where they say.

use super::*;

/// Functions that are alike, with numbers to tell lines apart.
fn functions(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("def {name}():\n    start()\n    return 1\n\n"))
        .collect()
}

fn notes(file: &str, patch: &str) -> Vec<Leniency> {
    let plan = planned(&tree(&[("x", file)]), patch.as_bytes()).unwrap();
    let leniency = |note: &Note| match note {
        Note::Hunk { leniency, .. } => *leniency,
        other => panic!("{other}"),
    };
    plan.notes.iter().map(leniency).collect()
}

#[test]
fn a_hunk_that_moved_is_found_and_told() {
    let file = "new\nnew\nnew\na\nb\nc\n";
    let patch = "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n";
    assert_patched(&[("x", file)], patch, &[("x", "new\nnew\nnew\na\nB\nc\n")]);
    assert_eq!(notes(file, patch), [Leniency::Offset(3)]);
}

#[test]
fn the_stated_line_decides_among_many() {
    let file = functions(&["a", "b", "c"]);
    let patch = "--- a/x\n+++ b/x\n@@ -6,2 +6,2 @@\n     start()\n-    return 1\n+    return 2\n";
    let new = file
        .replacen("return 1", "return 0", 1)
        .replacen("return 1", "return 2", 1);
    let new = new.replacen("return 0", "return 1", 1);
    assert_patched(&[("x", &file)], patch, &[("x", &new)]);
}

#[test]
fn a_heading_decides_among_many() {
    let file = functions(&["a", "b", "c"]);
    let patch = "--- a/x\n+++ b/x\n@@ def b():\n     start()\n-    return 1\n+    return 2\n";
    let new = file.replace(
        "def b():\n    start()\n    return 1",
        "def b():\n    start()\n    return 2",
    );
    assert_patched(&[("x", &file)], patch, &[("x", &new)]);
}

#[test]
fn nothing_is_guessed_among_many() {
    let file = functions(&["a", "b", "c"]);
    for head in ["@@ @@", "@@ -4,2 +4,2 @@"] {
        let patch =
            format!("--- a/x\n+++ b/x\n{head}\n     start()\n-    return 1\n+    return 2\n");
        let error = refusal(&[("x", &file)], &patch);
        assert!(
            error.contains("applies equally well at lines 2, 6, 10"),
            "{error}"
        );
    }
}

#[test]
fn hunks_may_share_context_and_come_in_any_order() {
    let file = "1\n2\n3\n4\n5\n6\n";
    let shared =
        "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n@@ -3,3 +3,3 @@\n 3\n-4\n+four\n 5\n";
    assert_patched(&[("x", file)], shared, &[("x", "1\ntwo\n3\nfour\n5\n6\n")]);
    let swapped = "--- a/x\n+++ b/x\n@@\n 4\n-5\n+five\n 6\n@@\n 1\n-2\n+two\n 3\n";
    assert_patched(&[("x", file)], swapped, &[("x", "1\ntwo\n3\n4\nfive\n6\n")]);
    let on_top = "--- a/x\n+++ b/x\n@@\n 1\n-2\n+two\n 3\n@@\n two\n-3\n+three\n 4\n";
    assert_patched(&[("x", file)], on_top, &[("x", "1\ntwo\nthree\n4\n5\n6\n")]);
}

#[test]
fn white_space_at_line_ends_does_not_matter() {
    let patch = "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n";
    assert_patched(&[("x", "a \nb\t\nc\n")], patch, &[("x", "a \nB\nc\n")]);
    assert_eq!(notes("a \nb\t\nc\n", patch), [Leniency::TrailingSpace]);
}

#[test]
fn outer_context_may_differ() {
    let file = "z\nb\nc\nd\ne\ny\n";
    let patch = "--- a/x\n+++ b/x\n@@ -1,6 +1,6 @@\n a\n b\n-c\n+C\n d\n e\n f\n";
    assert_patched(&[("x", file)], patch, &[("x", "z\nb\nC\nd\ne\ny\n")]);
    assert_eq!(notes(file, patch), [Leniency::LessContext]);
    let error = refusal(
        &[("x", &format!("{file}{file}{file}"))],
        &patch.replace("-1,6 +1,6", ""),
    );
    assert!(error.contains("does not apply"), "{error}");
}

#[test]
fn added_lines_take_the_indentation_of_the_file() {
    let file = "class A:\n\tdef a(self):\n\t\treturn 1\n";
    let patch = "--- a/x\n+++ b/x\n@@ -2,2 +2,3 @@\n     def a(self):\n-        return 1\n+        b = 2\n+        return b\n";
    let new = "class A:\n\tdef a(self):\n\t\tb = 2\n\t\treturn b\n";
    assert_patched(&[("x", file)], patch, &[("x", new)]);
    assert_eq!(notes(file, patch), [Leniency::Indentation]);
    let file = "if x:\n    if y:\n        a()\n        b()\n";
    let patch = "--- a/x\n+++ b/x\n@@\n a()\n-b()\n+for c in d:\n+    c()\n";
    let new = "if x:\n    if y:\n        a()\n        for c in d:\n            c()\n";
    assert_patched(&[("x", file)], patch, &[("x", new)]);
}

#[test]
fn an_indentation_that_cannot_be_told_is_not_guessed() {
    let file = "if x:\n\ta()\n  b()\n";
    let patch = "--- a/x\n+++ b/x\n@@\n     a()\n-    b()\n+        c()\n";
    let error = refusal(&[("x", file)], patch);
    assert!(error.contains("does not apply"), "{error}");
}

#[test]
fn a_failed_hunk_tells_what_is_there() {
    let file =
        "import os\n\ndef area(w, h):\n    # compute\n    return w * h\n\ndef main():\n    pass\n";
    let patch = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-import os\n+import sys\n \n@@ -3,3 +3,3 @@ def area\n def area(width, h):\n     # compute\n-    return width * h\n+    return width * h * 2\n";
    let error = refusal(&[("x", file)], patch);
    assert_eq!(
        error,
        "/workspace/x: hunk 2 of 2 (`@@ -3,3 +3,3 @@ def area`), at line 7 of the patch, does not apply. It looks for:\n\
         \x20     | def area(width, h):\n\
         \x20     |     # compute\n\
         \x20     |     return width * h\n\
         The most similar text (85 %) is at line 3 (`>` marks what differs):\n\
         \x20   3 >| def area(w, h):\n\
         \x20   4  |     # compute\n\
         \x20   5 >|     return w * h"
    );
}

#[test]
fn all_failed_hunks_are_told_and_nothing_changes() {
    let patch = "--- a/x\n+++ b/x\n@@\n-nowhere\n+1\n@@\n-neither\n+1\n--- a/y\n+++ b/y\n@@\n-nor here\n+1\n";
    let error = refusal(&[("x", "a\n"), ("y", "b\n")], patch);
    assert_eq!(error.matches("does not apply").count(), 3, "{error}");
}

#[test]
fn a_change_that_was_made_already_is_told() {
    let patch = "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n";
    let error = refusal(&[("x", "a\nB\nc\n")], patch);
    assert!(
        error.contains("its new text is already there, at line 1"),
        "{error}"
    );
}
