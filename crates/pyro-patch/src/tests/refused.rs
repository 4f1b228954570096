//! Patches that are refused, and in which words.

use super::*;

#[test]
fn paths_outside_are_refused() {
    for (name, why) in [
        ("../x", "it contains `..`"),
        ("a/../../x", "it contains `..`"),
        ("/etc/passwd", "it is not below /workspace"),
        ("a//etc/passwd", "it is not below /workspace"),
        ("/workspace/../etc/passwd", "it contains `..`"),
        ("/workspacex/y", "it is not below /workspace"),
        ("/workspace/", "it names no file"),
        ("src/", "it names a folder"),
        ("\"x\\000y\"", "it contains a NUL byte"),
    ] {
        for patch in [
            format!("--- {name}\n+++ {name}\n@@ -1 +1 @@\n-a\n+b\n"),
            format!("--- /dev/null\n+++ {name}\n@@ -0,0 +1 @@\n+b\n"),
            format!("rename from x\nrename to {name}\n"),
            format!("rename from {name}\nrename to y\n"),
        ] {
            let error = refusal(&[("x", "a\n")], &patch);
            assert!(error.contains("is refused"), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }
}

#[test]
fn a_repository_s_own_folder_is_left_alone() {
    for name in [
        ".git/info/exclude",
        "lib/.git/config",
        ".git",
        ".hg/hgrc",
        "x/.svn/wc.db",
        ".jj/repo",
        "/workspace/.git/HEAD",
    ] {
        for patch in [
            format!("--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-a\n+b\n"),
            format!("--- {name}\n+++ {name}\n@@ -1 +1 @@\n-a\n+b\n"),
            format!("--- old/{name}\n+++ new/{name}\n@@ -1 +1 @@\n-a\n+b\n"),
            format!("--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+b\n"),
            format!("diff --git a/{name} b/{name}\nold mode 100644\nnew mode 100755\n"),
            format!("rename from x\nrename to {name}\n"),
            format!("copy from {name}\ncopy to y\n"),
            format!("*** Begin Patch\n*** Delete File: {name}\n*** End Patch\n"),
            format!("*** Begin Patch\n*** Update File: x\n*** Move to: {name}\n*** End Patch\n"),
        ] {
            let error = refusal(&[("x", "a\n")], &patch);
            assert!(
                error.contains("belongs to a repository"),
                "{patch}\n{error}"
            );
            assert!(error.contains("`git commit`"), "{error}");
        }
    }
    let patch = "--- /dev/null\n+++ b/.gitignore\n@@ -0,0 +1 @@\n+x\n";
    assert_patched(&[], patch, &[(".gitignore", "x\n")]);
}

#[test]
fn each_fault_has_its_words() {
    let old = [("x", "a\n"), ("y", "b\n")];
    for (patch, words) in [
        ("", "has no `--- `"),
        ("just words\n", "has no `--- `"),
        (
            "*** Update File: x\n@@\n-a\n+b\n",
            "outside of such a patch",
        ),
        (
            "--- a/x\n+++ b/x\n@@\n-a\n+b\n*** Begin Patch\n*** Delete File: y\n*** End Patch\n",
            "outside of such a patch",
        ),
        (
            "x\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n",
            "begins a SEARCH/REPLACE block, which is not supported; give a unified diff",
        ),
        ("@@ -1 +1 @@\n-a\n+b\n", "a hunk comes before"),
        (
            "--- a/x\n@@ -1 +1 @@\n-a\n+b\n",
            "a `+++ ` line must follow",
        ),
        (
            "+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
            "a `--- ` line must come before",
        ),
        ("--- a/x\n+++ b/x\n", "no hunk, mode or rename follows"),
        (
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n",
            "no lines follow the head",
        ),
        (
            "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\na\n-b\n+c\n",
            "each line begins with a space",
        ),
        (
            "--- a/x\n+++ b/x\n@@\n-a\n+b\n\nwords\n+lost\n",
            "may be part of the patch above",
        ),
        (
            "diff --git a/x b/x\nold mode 100644\nnew mode 100755\nwords\n+lost\n",
            "may be part of the patch above",
        ),
        (
            "diff --git a/x b/x\nGIT binary patch\nwords\n",
            "`literal SIZE` or `delta SIZE` must follow",
        ),
        ("diff -r 1 x\nBinary file x has changed\n", "is binary"),
        (
            "Index: x\nCannot display: file marked as a binary type.\n",
            "is binary",
        ),
        (
            "diff --git a/x b/x\ndeleted file mode 100644\nindex 1..0\n",
            "deletes /workspace/x without its lines",
        ),
        (
            "--- a/x\n+++ /dev/null\n",
            "deletes /workspace/x without its lines",
        ),
        (
            "diff --git a/x b/x\nBinary files a/x and b/x differ\n",
            "is binary",
        ),
        ("Binary files x and y differ\n", "is binary"),
        ("diff --cc x\n@@@ -1 -1 +1 @@@\n", "of a merge"),
        ("diff --git a/m b/m\nnew file mode 160000\n", "submodule"),
        (
            "diff --git a/x b/x\nold mode 644\nnew mode 755\n",
            "a mode is 100644",
        ),
        ("diff --git a/x b/z\nrename from x\n", "belong together"),
        (
            "--- a/z\n+++ b/z\n@@ -1 +1 @@\n-a\n+b\n",
            "there is no /workspace/z",
        ),
        (
            "--- z/x\n+++ z/x\n@@ -1 +1 @@\n-a\n+b\n",
            "there is no /workspace/z/x",
        ),
        (
            "--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n",
            "there is no `rename from`",
        ),
        (
            "--- /dev/null\n+++ /dev/null\n+a\n",
            "both sides are /dev/null",
        ),
        (
            "--- /dev/null\n+++ b/z\n@@ -1 +1 @@\n-a\n+b\n",
            "has only lines that begin with `+`",
        ),
        (
            "--- a/x\n+++ /dev/null\n@@ -1 +1 @@\n-a\n+b\n",
            "has only lines that begin with `-`",
        ),
        ("--- /dev/null\n+++ b/x\n+b\n", "which already exists"),
        (
            "--- /dev/null\n+++ b/x\n+a\n",
            "exists with exactly this content",
        ),
        (
            "rename from x\nrename to y\n",
            "creates /workspace/y, which already exists",
        ),
        ("rename from z\nrename to w\n", "there is no /workspace/z"),
        (
            "--- a/x\n+++ /dev/null\n@@\n-a\n--- a/x\n+++ b/x\n@@\n-a\n+b\n",
            "was deleted or renamed earlier",
        ),
        (
            "--- a/x\n+++ /dev/null\n@@\n-a\n--- a/x\n+++ /dev/null\n@@\n-a\n",
            "was deleted or renamed earlier",
        ),
        (
            "--- /dev/null\n+++ b/z\n+1\n--- /dev/null\n+++ b/z\n+2\n",
            "which already exists",
        ),
        (
            "--- /dev/null\n+++ b/z\n+1\n--- /dev/null\n+++ b/z/w\n+2\n",
            "cannot be a file while /workspace/z/w",
        ),
        ("--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n+b\n", "without context"),
        (
            "--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+b\n",
            "is for an empty file, but this one has 1 lines",
        ),
        ("--- \"a/x\n+++ b/x\n@@\n-a\n+b\n", "does not end"),
        (
            "--- /dev/null\n+++ b/workspace/z\n+1\n",
            "could mean /workspace/workspace/z or /workspace/z",
        ),
    ] {
        let error = refusal(&old, patch);
        assert!(error.contains(words), "{patch}\n{error}");
    }
}

#[test]
fn a_deletion_must_name_all_that_is_deleted() {
    let patch = "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n";
    let error = refusal(&[("x", "a\nb\n")], patch);
    assert!(
        error.contains("1 lines remain, the first is `b`"),
        "{error}"
    );
}

#[test]
fn what_is_no_file_is_refused() {
    for (node, words) in [
        (Node::Folder, "is a folder"),
        (Node::Special, "neither a file nor a folder"),
        (Node::TooLarge, "is larger than 8388608 bytes"),
    ] {
        let tree = Tree::from([(b"x".to_vec(), node)]);
        for patch in [
            "--- a/x\n+++ b/x\n@@\n-a\n+b\n",
            "--- a/x\n+++ /dev/null\n",
            "--- /dev/null\n+++ b/x\n+a\n",
            "rename from x\nrename to y\n",
        ] {
            let error = planned(&tree, patch.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}

#[test]
fn sizes_are_bounded() {
    let patch = "x".repeat(MAX_PATCH + 1);
    assert!(matches!(
        Patch::parse(patch.as_bytes()),
        Err(PatchError::TooLong { .. })
    ));

    let full = "x".repeat(MAX_FILE - 2);
    let patch = "--- a/x\n+++ b/x\n@@\n-1\n+22\n";
    let error = refusal(&[("x", &format!("1\n{full}"))], patch);
    assert!(error.contains("larger than"), "{error}");

    let copies: String = (0..20)
        .map(|n| format!("copy from x\ncopy to y{n}\n"))
        .collect();
    let error = refusal(&[("x", &full)], &copies);
    assert!(error.contains("too large together"), "{error}");
}

#[test]
fn messages_carry_no_control_characters() {
    let patch = "--- a/\x1b[31mx\n+++ b/\x1b[31mx\n@@\n-\x1b]0;title\x07\n+b\n";
    let error = refusal(&[("\x1b[31mx", "\x1b]0;titles\x07\n")], patch);
    assert!(
        !error.contains('\x1b') && !error.contains('\x07'),
        "{error}"
    );
}
