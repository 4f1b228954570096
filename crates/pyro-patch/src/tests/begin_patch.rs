//! The form that begins with `*** Begin Patch`.

use super::*;

fn patch(body: &str) -> String {
    format!("*** Begin Patch\n{body}*** End Patch\n")
}

#[test]
fn files_are_added_updated_moved_and_deleted_at_once() {
    let text = patch(
        "*** Add File: docs/new.md\n+# New\n+\n+text\n*** Add File: empty\n*** Update File: src/x.py\n\
         *** Move to: lib/x.py\n@@ def f():\n     a = 1\n-    return a\n+    return a + 1\n\
         *** Delete File: gone\n",
    );
    let old = [
        ("src/x.py", "def f():\n    a = 1\n    return a\n"),
        ("gone", "all\nof it\n"),
    ];
    let new = [
        ("docs/new.md", "# New\n\ntext\n"),
        ("empty", ""),
        ("lib/x.py", "def f():\n    a = 1\n    return a + 1\n"),
    ];
    assert_patched(&old, &text, &new);
    let around = format!("Here it is:\n\n```\n{text}```\nDone.\n");
    assert_patched(&old, &around, &new);
    assert_patched(&old, &text.replace('\n', "\r\n"), &new);
    let heredoc = format!("apply_patch <<'EOF'\n{text}EOF\n");
    assert_patched(&old, &heredoc, &new);
    assert_eq!(
        Patch::parse(text.as_bytes()).unwrap().format,
        Format::BeginPatch
    );
}

#[test]
fn a_move_keeps_mode_and_says_where_from() {
    let old = Tree::from([(
        b"run".to_vec(),
        Node::File {
            content: b"a\nb\n".as_slice().into(),
            mode: 0o750,
        },
    )]);
    for (hunk, content) in [("", "a\nb\n"), ("@@\n a\n-b\n+B\n", "a\nB\n")] {
        let text = patch(&format!(
            "*** Update File: run\n*** Move to: bin/run\n{hunk}"
        ));
        let plan = planned(&old, text.as_bytes()).unwrap();
        let moved = &plan.changes[0];
        assert_eq!(moved.path, b"bin/run");
        assert_eq!(moved.renamed_from.as_deref(), Some(b"run".as_slice()));
        let content = content.as_bytes().into();
        assert_eq!(
            moved.after,
            Node::File {
                content,
                mode: 0o750
            }
        );
        assert_eq!(plan.changes[1].after, Node::Missing);
    }
}

#[test]
fn names_are_exact() {
    let text = patch("*** Update File: a/x\n@@\n-1\n+2\n");
    assert_patched(
        &[("a/x", "1\n"), ("x", "1\n")],
        &text,
        &[("a/x", "2\n"), ("x", "1\n")],
    );
    let text = patch("*** Update File: /workspace/x\n@@\n-1\n+2\n");
    assert_patched(&[("x", "1\n")], &text, &[("x", "2\n")]);
}

const CLASSES: &str = "class A:\n    def run(self):\n        start()\n        return 1\n\n\
    class B:\n    def run(self):\n        start()\n        return 1\n\n    def end(self):\n        start()\n        return 1\n";
const HUNK: &str = "         start()\n-        return 1\n+        return 2\n";

#[test]
fn anchors_tell_places_apart() {
    let nth = |count: usize| {
        let mut parts: Vec<&str> = CLASSES.split("return 1").collect();
        let tail = parts.split_off(count + 1).join("return 1");
        let head = parts.join("return 1");
        format!("{head}return 2{tail}")
    };
    for (anchors, place) in [
        ("@@ class A:\n@@ def run(self):\n", 0),
        ("@@ class A:\n@@     def run(self):\n", 0),
        ("@@ class B\n@@ def run\n", 1),
        ("@@ class B:\n@@ def end(self):\n", 2),
        ("@@ def end(self):\n", 2),
        ("@@ def end(self): @@\n", 2),
        ("@@ -12,2 +12,2 @@\n", 2),
    ] {
        let text = patch(&format!("*** Update File: x\n{anchors}{HUNK}"));
        assert_patched(&[("x", CLASSES)], &text, &[("x", &nth(place))]);
    }
    let text = patch(&format!("*** Update File: x\n{HUNK}*** End of File\n"));
    assert_patched(&[("x", CLASSES)], &text, &[("x", &nth(2))]);
}

#[test]
fn what_fits_twice_is_refused_with_the_places() {
    for (anchors, places) in [
        ("@@\n", "3, 8, 12"),
        ("", "3, 8, 12"),
        ("@@ class B:\n", "8, 12"),
    ] {
        let text = patch(&format!("*** Update File: x\n{anchors}{HUNK}"));
        let error = refusal(&[("x", CLASSES)], &text);
        let words =
            format!("applies equally well at lines {places}. Give the line of its function");
        assert!(error.contains(&words), "{error}");
    }
}

#[test]
fn an_anchor_that_is_not_above_is_told() {
    let old = [("x", "def f():\n    return 1\n")];
    let text = patch("*** Update File: x\n@@ def g():\n-    return 1\n+    return 2\n");
    let plan = planned(&tree(&old), text.as_bytes()).unwrap();
    let note = plan.notes[0].to_string();
    assert!(note.contains("which is not after its anchor"), "{note}");
    // The anchor again as the first line of the hunk.
    let text = patch("*** Update File: x\n@@ def f():\n def f():\n-    return 1\n+    return 2\n");
    assert_eq!(planned(&tree(&old), text.as_bytes()).unwrap().notes, []);
}

#[test]
fn lines_are_added_behind_an_anchor_or_at_the_end() {
    let old = "import os\n\ndef f():\n    pass\n";
    for (body, new) in [
        (
            "@@ import os\n+import sys\n",
            "import os\nimport sys\n\ndef f():\n    pass\n",
        ),
        (
            "@@\n+# end\n*** End of File\n",
            "import os\n\ndef f():\n    pass\n# end\n",
        ),
        (
            "@@ import os\n+import sys\n@@ def f():\n-    pass\n+    return\n@@\n+# end\n*** End of File\n",
            "import os\nimport sys\n\ndef f():\n    return\n# end\n",
        ),
    ] {
        let text = patch(&format!("*** Update File: x\n{body}"));
        assert_patched(&[("x", old)], &text, &[("x", new)]);
        let crlf = |text: &str| text.replace('\n', "\r\n");
        assert_patched(&[("x", &crlf(old))], &text, &[("x", &crlf(new))]);
    }
    let text = patch("*** Update File: x\n@@\n+a\n");
    assert_patched(&[("x", "")], &text, &[("x", "a\n")]);
}

#[test]
fn each_fault_has_its_words() {
    let old = [("x", "a\nb\n"), ("y", "c\n"), ("e", "")];
    for (body, words) in [
        (
            "*** Add File: x\n+1\n",
            "creates /workspace/x, which already exists",
        ),
        (
            "*** Add File: e\n+1\n",
            "creates /workspace/e, which already exists",
        ),
        (
            "*** Update File: x\n*** Move to: y\n@@\n-a\n+A\n",
            "creates /workspace/y, which already exists",
        ),
        ("*** Delete File: z\n", "there is no /workspace/z"),
        (
            "*** Update File: z\n@@\n-a\n+b\n",
            "there is no /workspace/z",
        ),
        ("*** Update File: x\n", "no change and no move follows"),
        ("*** Update File: x\n@@\n", "no lines follow the head"),
        (
            "*** Update File: x\n@@\n-a\nb\n",
            "each line begins with a space",
        ),
        (
            "*** Update File: x\n@@\n-other\n+b\n",
            "does not apply. It looks for",
        ),
        ("*** Update File: x\n@@\n+b\n", "without context"),
        (
            "*** Update File: x\n@@ nowhere\n+b\n",
            "the line `nowhere`, which is not there",
        ),
        (
            "*** Add File: z\nwords\n",
            "in a new file each line begins with `+`",
        ),
        ("*** Add File: ../z\n+1\n", "it contains `..`"),
        ("*** Add File: /etc/z\n+1\n", "it is not below /workspace"),
        ("*** Rename File: x\n", "must come here"),
        ("--- a/x\n+++ b/x\n@@\n-a\n+b\n", "must come here"),
    ] {
        let error = refusal(&old, &patch(body));
        assert!(error.contains(words), "{body}\n{error}");
    }
    let cut = "*** Begin Patch\n*** Update File: x\n@@\n-a\n+b\n";
    let error = refusal(&old, cut);
    assert!(
        error.contains("line 6 of the patch: `*** End Patch` is missing"),
        "{error}"
    );
    let error = refusal(&old, &patch(""));
    assert!(error.contains("no `*** Begin Patch`"), "{error}");
}

/// A unified diff of a text about the form is a unified diff.
#[test]
fn the_form_within_a_unified_diff_is_text() {
    let text = "--- /dev/null\n+++ b/doc\n@@ -0,0 +1,2 @@\n+*** Begin Patch\n+*** End Patch\n";
    assert_patched(&[], text, &[("doc", "*** Begin Patch\n*** End Patch\n")]);
    let text = patch("*** Add File: doc\n+--- a/x\n++++ b/x\n+@@ -1 +1 @@\n+*** End Patch\n");
    let new = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n*** End Patch\n";
    assert_patched(&[], &text, &[("doc", new)]);
}
