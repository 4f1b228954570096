//! What tools other than git write, as they wrote it: GNU diff 3.8, Subversion 1.14.2, Mercurial
//! 7.2.4, Breezy 3.3.23, autopep8 2.3, docformatter 1.7, black 26, isort 7, yapf 0.43.

use super::*;

const OLD: &str = "x = 1;\ny = 2\n";
const NEW: &str = "x = 1\ny = 2\n";
const BODY: &str = "@@ -1,2 +1,2 @@\n-x = 1;\n+x = 1\n y = 2\n";

#[test]
fn formatters_name_files_in_their_own_ways() {
    for (old, new) in [
        ("original/pkg/m.py", "fixed/pkg/m.py"),
        ("original/./pkg/m.py", "fixed/./pkg/m.py"),
        ("original//workspace/pkg/m.py", "fixed//workspace/pkg/m.py"),
        ("before/pkg/m.py", "after/pkg/m.py"),
        ("before/./pkg/m.py", "after/./pkg/m.py"),
        ("before//workspace/pkg/m.py", "after//workspace/pkg/m.py"),
        (
            "/workspace/pkg/m.py\t2026-11-29 18:25:03.222305+00:00",
            "/workspace/pkg/m.py\t2026-11-29 18:25:04.223659+00:00",
        ),
        (
            "/workspace/pkg/m.py:before\t2026-11-29 18:25:03.222305",
            "/workspace/pkg/m.py:after\t2026-11-29 18:25:03.715938",
        ),
        ("pkg/m.py\t(original)", "pkg/m.py\t(reformatted)"),
        ("pkg/m.py.orig", "pkg/m.py"),
        ("project.orig/pkg/m.py", "project/pkg/m.py"),
        ("v1/alpha/pkg/m.py", "v2/beta/pkg/m.py"),
        ("/tmp/before/pkg/m.py", "/workspace/pkg/m.py"),
    ] {
        let patch = format!("--- {old}\n+++ {new}\n{BODY}");
        assert_patched(&[("pkg/m.py", OLD)], &patch, &[("pkg/m.py", NEW)]);
    }
}

#[test]
fn two_folders_that_are_there_are_doubtful() {
    let patch = format!("--- old/x\n+++ new/x\n{BODY}");
    for there in ["old/x", "new/x"] {
        let error = refusal(&[("x", OLD), (there, OLD)], &patch);
        assert!(
            error.contains(&format!("/workspace/x or /workspace/{there}")),
            "{error}"
        );
    }
    // Only the second name is there, as it stands.
    assert_patched(&[("new/x", OLD)], &patch, &[("new/x", NEW)]);
    for tree in [
        &[][..],
        &[("old/x", OLD)],
        &[("old/x", OLD), ("new/x", OLD)],
    ] {
        let error = refusal(tree, &patch);
        assert!(
            error.contains("there is no /workspace/x") || error.contains("could mean"),
            "{error}"
        );
    }
    let made = "--- old/y\t1970-01-01 00:00:00.000000000 +0000\n+++ new/y\t2026-11-29\n@@ -0,0 +1 @@\n+y\n";
    assert_patched(&[], made, &[("y", "y\n")]);
    let mut tree = tree(&[("new/z", "z\n")]);
    tree.insert(b"new".to_vec(), Node::Folder);
    let error = planned(&tree, made.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("`new/y` could mean"), "{error}");
    // Never what only ends as the name does.
    let other = format!("--- original/src/x\n+++ fixed/src/x\n{BODY}");
    let error = refusal(&[("x", OLD)], &other);
    assert!(error.contains("there is no /workspace/src/x"), "{error}");
}

#[test]
fn gnu_diff_of_two_folders() {
    let patch = "\
diff -ruN old/gone new/gone
--- old/gone	2026-11-29 18:25:04.530304882 +0000
+++ new/gone	1970-01-01 01:00:00.000000000 +0100
@@ -1 +0,0 @@
-g
diff -ruN old/new new/new
--- old/new	1970-01-01 01:00:00.000000000 +0100
+++ new/new	2026-11-29 18:25:04.530304882 +0000
@@ -0,0 +1 @@
+n
diff -ruN old/s/x new/s/x
--- old/s/x	2026-11-29 18:25:04.530304882 +0000
+++ new/s/x	2026-11-29 18:25:04.530304882 +0000
@@ -1,2 +1,2 @@
 a
-b
+B
";
    assert_patched(
        &[("gone", "g\n"), ("s/x", "a\nb\n")],
        patch,
        &[("new", "n\n"), ("s/x", "a\nB\n")],
    );
}

/// Without a `diff` line only the other files tell what stands before the name.
#[test]
fn a_new_file_takes_the_prefix_of_the_others() {
    for (old, new) in [
        ("i/", "w/"),
        ("original/", "fixed/"),
        ("a/", "b/"),
        ("", ""),
    ] {
        let patch = format!(
            "--- {old}x\n+++ {new}x\n{BODY}--- /dev/null\n+++ {new}sub/new\n@@ -0,0 +1 @@\n+n\n\
             --- {old}gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-g\n"
        );
        assert_patched(
            &[("x", OLD), ("gone", "g\n")],
            &patch,
            &[("sub/new", "n\n"), ("x", NEW)],
        );
    }
}

#[test]
fn breezy_writes_the_beginning_of_time() {
    let patch = "\
=== removed file 'gone'
--- old/gone	2026-11-29 18:38:15 +0000
+++ new/gone	1970-01-01 00:00:00 +0000
@@ -1,1 +0,0 @@
-g

=== added file 'new'
--- old/new	1970-01-01 00:00:00 +0000
+++ new/new	2026-11-29 18:38:16 +0000
@@ -0,0 +1,1 @@
+n

";
    assert_patched(&[("gone", "g\n")], patch, &[("new", "n\n")]);
}

const SUBVERSION: &str = "\
Index: gone
===================================================================
--- gone	(revision 1)
+++ gone	(nonexistent)
@@ -1 +0,0 @@
-old
Index: new
===================================================================
--- new	(nonexistent)
+++ new	(working copy)
@@ -0,0 +1 @@
+new

Property changes on: new
___________________________________________________________________
Added: svn:executable
## -0,0 +1 ##
+*
\\ No newline at end of property
Index: run
===================================================================
--- run	(revision 1)
+++ run	(working copy)

Property changes on: run
___________________________________________________________________
Added: svn:executable
## -0,0 +1 ##
+*
\\ No newline at end of property
Index: sub
===================================================================
--- sub	(revision 1)
+++ sub	(working copy)

Property changes on: sub
___________________________________________________________________
Added: svn:ignore
## -0,0 +1 ##
+*.o
Index: x
===================================================================
--- x	(revision 1)
+++ x	(working copy)
@@ -1,2 +1,2 @@
 one
-two
+TWO

Property changes on: x
___________________________________________________________________
Added: svn:eol-style
## -0,0 +1 ##
+native
\\ No newline at end of property
Modified: svn:keywords
## -1 +1 ##
-Id
\\ No newline at end of property
+Rev
\\ No newline at end of property
";

#[test]
fn subversion_s_properties_are_left_out_and_told() {
    let mut old = tree(&[("gone", "old\n"), ("run", "go\n"), ("x", "one\ntwo\n")]);
    old.insert(b"sub".to_vec(), Node::Folder);
    let plan = planned(&old, SUBVERSION.as_bytes()).unwrap();
    let program = |content: &str| Node::File {
        content: content.as_bytes().into(),
        mode: 0o755,
    };
    let after: Vec<_> = plan
        .changes
        .into_iter()
        .map(|change| (words(&change.path), change.after))
        .collect();
    let wanted = [
        ("gone", Node::Missing),
        ("new", program("new\n")),
        ("run", program("go\n")),
        ("x", file("one\nTWO\n")),
    ];
    assert_eq!(after, wanted.map(|(path, node)| (path.to_owned(), node)));
    let notes: Vec<_> = plan.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "/workspace/sub: Subversion's properties were left out: svn:ignore",
            "/workspace/x: Subversion's properties were left out: svn:eol-style, svn:keywords",
        ]
    );
}

#[test]
fn subversion_in_the_form_of_git() {
    let patch = "\
Index: bin
===================================================================
diff --git a/bin b/bin
GIT binary patch
literal 3
Kc${NkWCj2L2ml2D

literal 3
Kc${NkWC8#H2LJ>B
Index: gone
===================================================================
diff --git a/gone b/gone
deleted file mode 100644
--- a/gone	(revision 1)
+++ b/gone	(nonexistent)
@@ -1 +0,0 @@
-old
Index: run
===================================================================
diff --git a/run b/run
old mode 100644
new mode 100755
--- a/run	(revision 1)
+++ b/run	(working copy)

Property changes on: run
___________________________________________________________________
Added: svn:executable
## -0,0 +1 ##
+*
\\ No newline at end of property
";
    let mut old = tree(&[("gone", "old\n"), ("run", "go\n")]);
    old.insert(b"bin".to_vec(), file(b"\0\x01\x02"));
    let plan = planned(&old, patch.as_bytes()).unwrap();
    let after: Vec<_> = plan.changes.iter().map(|change| &change.after).collect();
    let program = Node::File {
        content: b"go\n".as_slice().into(),
        mode: 0o755,
    };
    assert_eq!(after, [&file(b"\0\x01\x03"), &Node::Missing, &program]);
    assert_eq!(plan.notes, []);
}

const MERCURIAL: &str = "\
# HG changeset patch
# User t
# Date 1795976702 0
#      Sun Nov 29 18:25:02 2026 +0000
# Node ID fcb95ae50fb408dc80510243d4a93697e7e4d49c
# Parent  b07af90a17310b03b17636d29d30c789980022ab
a message
--- a
+++ b
done

diff --git a/bin b/bin
index 8352675d67aed6625ece79af41c27fdb4ee2e867..1592e5c60f1a460928916dc5681fee1a9bd10868
GIT binary patch
literal 3
Kc${NkWCj2L2ml2D

diff --git a/gone b/gone
deleted file mode 100644
--- a/gone
+++ /dev/null
@@ -1,1 +0,0 @@
-g
\\ No newline at end of file
diff --git a/l b/l
--- a/l
+++ b/l
@@ -1,1 +1,1 @@
-x
\\ No newline at end of file
+y
\\ No newline at end of file
diff --git a/new b/new
new file mode 100644
--- /dev/null
+++ b/new
@@ -0,0 +1,1 @@
+n
diff --git a/x b/z
old mode 100644
new mode 100755
rename from x
rename to z
--- a/x
+++ b/z
@@ -1,2 +1,2 @@
 one
-two
+TWO
";

#[test]
fn mercurial_s_changesets_are_read() {
    let mut old = tree(&[("gone", "g"), ("x", "one\ntwo\n")]);
    old.insert(b"bin".to_vec(), file(b"\0\x01\x02"));
    let link = |target: &str| Node::Link {
        target: target.into(),
    };
    old.insert(b"l".to_vec(), link("x"));
    let plan = planned(&old, MERCURIAL.as_bytes()).unwrap();
    let after: Vec<_> = plan
        .changes
        .iter()
        .map(|change| (change.path.as_slice(), &change.after))
        .collect();
    let program = Node::File {
        content: b"one\nTWO\n".as_slice().into(),
        mode: 0o755,
    };
    assert_eq!(
        after,
        [
            (b"bin".as_slice(), &file(b"\0\x01\x03")),
            (b"gone", &Node::Missing),
            (b"l", &link("y")),
            (b"new", &file("n\n")),
            (b"x", &Node::Missing),
            (b"z", &program),
        ]
    );
    let plain = "\
diff -r b07af90a1731 -r fcb95ae50fb4 l
--- a/l	Sun Nov 29 18:25:01 2026 +0000
+++ b/l	Sun Nov 29 18:25:02 2026 +0000
@@ -1,1 +1,1 @@
-x
\\ No newline at end of file
+y
\\ No newline at end of file
diff -r b07af90a1731 -r fcb95ae50fb4 new
--- /dev/null	Thu Jan 01 00:00:00 1970 +0000
+++ b/new	Sun Nov 29 18:25:02 2026 +0000
@@ -0,0 +1,1 @@
+n
";
    let plan = planned(&old, plain.as_bytes()).unwrap();
    assert_eq!(plan.changes[0].after, link("y"));
    assert_eq!(plan.changes[1].after, file("n\n"));
}

/// Lines end at line feeds only, whatever the bytes between them are for people.
#[test]
fn text_of_any_encoding_is_patched_to_the_byte() {
    let utf16 = |text: &str| -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect()
    };
    for (old, new) in [
        (
            b"caf\xe9\nth\xe9\n".to_vec(),
            b"caf\xe9\nth\xe9 vert\n".to_vec(),
        ),
        (
            b"\x83\x65\x0a\x95\x5c\n".to_vec(),
            b"\x83\x65\x0a\x95\x5c\x95\x5c\n".to_vec(),
        ),
        (utf16("one\r\ntwo\r\n"), utf16("one\r\nTWO ਊ\r\n")),
        (b"\xff\xfe\n\x80".to_vec(), b"\xff\xfd\n\x80\n".to_vec()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("old"), &old).unwrap();
        std::fs::write(folder.path().join("new"), &new).unwrap();
        let patch = std::process::Command::new("diff")
            .args([
                "--text", "-u", "--label", "a/x", "--label", "b/x", "old", "new",
            ])
            .current_dir(folder.path())
            .output()
            .expect("diff is needed to try patches")
            .stdout;
        let tree = Tree::from([(b"x".to_vec(), file(&old))]);
        let plan = planned(&tree, &patch).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(plan.changes[0].after, file(&new));
        assert_eq!(plan.notes, []);
    }
}
