//! Whatever the text is, the parser and the planner come to an end, without a panic, and name no
//! path outside.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// What patches are made of, whole and broken.
const PIECES: &[&str] = &[
    "diff --git a/x b/x",
    "diff --git a/x b/y",
    "diff --git",
    "diff --git \"a/x",
    "index 1..2 100644",
    "old mode 100644",
    "new mode 100755",
    "new file mode 100644",
    "new file mode 120000",
    "deleted file mode 100644",
    "similarity index 90%",
    "rename from x",
    "rename to y",
    "rename from y",
    "rename to x",
    "copy from x",
    "copy to z",
    "--- a/x",
    "+++ b/x",
    "--- a/y",
    "+++ b/y",
    "--- /dev/null",
    "+++ /dev/null",
    "--- ",
    "+++ ",
    "--- \"a/\\303x\"",
    "+++ ../../x",
    "--- /workspace/x",
    "+++ a/workspace/x",
    "@@ -1,3 +1,3 @@",
    "@@ -0,0 +1,2 @@",
    "@@ -1 +1 @@",
    "@@ -2,9 +2,7 @@ one",
    "@@",
    "@@ ... @@",
    "@@@ -1 -1 +1 @@@",
    " one",
    "-one",
    "+one",
    " two",
    "-two",
    "+two",
    " three",
    "-three",
    "+three",
    "",
    " ",
    "-",
    "+",
    "\\ No newline at end of file",
    "\\",
    "```",
    "```diff",
    "-- ",
    "2.47.3",
    "words",
    "- words",
    "\r",
    " one\r",
    "-two \r",
    "*** Begin Patch",
    "*** End Patch",
    "*** Add File: new",
    "*** Delete File: x",
    "*** Update File: x",
    "*** Move to: y",
    "*** End of File",
    "@@ one",
    "@@ @@",
    "GIT binary patch",
    "literal 3",
    "delta 7",
    "literal 0",
    "Kc${NkWCj2L2ml2D",
    "HcmV?d00001",
    "index 8352675d67aed6625ece79af41c27fdb4ee2e867..1592e5c60f1a460928916dc5681fee1a9bd10868",
    "--- old/x\t1970-01-01 00:00:00 +0000",
    "+++ new/x\t(nonexistent)",
    "diff --git i/x w/x",
    "diff --git one two/x one two/x",
    "Property changes on: x",
    "Added: svn:executable",
    "+++ b/.git/x",
    "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001",
    "# HG changeset patch",
    "---",
    "Content-Type: multipart/mixed; boundary=\"--x\"",
    "----x",
    "<<<<<<< SEARCH",
    "\u{0}",
    "@@ -999999999999,1 +1 @@",
];

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        9 => select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.join(&b'\n'))
}

/// Good patches with bytes changed, lost and doubled.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    const UNIFIED: &str = "diff --git a/x b/y\nrename from x\nrename to y\n--- a/x\n+++ b/y\n\
        @@ -1,3 +1,4 @@ one\n one\n-two\n+2\n+2.5\n three\n--- /dev/null\n+++ b/z\n@@ -0,0 +1 @@\n+z\n\
        \\ No newline at end of file\n";
    const BEGIN: &str = "*** Begin Patch\n*** Add File: n\n+1\n*** Update File: x\n*** Move to: y\n\
        @@ one\n-two\n+2\n three\n*** End of File\n*** Delete File: sub/x\n*** End Patch\n";
    const BINARY: &str = "diff --git a/bin b/bin\nGIT binary patch\nliteral 3\nKc${NkWCj2L2ml2D\n\n\
        literal 3\nKc${NkWC8#H2LJ>B\n\n";
    let good = select([UNIFIED, BEGIN, BINARY].as_slice());
    let damage = (any::<Index>(), any::<Index>(), any::<u8>(), 0..3_u8);
    (good, proptest::collection::vec(damage, 0..8)).prop_map(|(good, damages)| {
        let mut text = good.as_bytes().to_vec();
        for (at, end, byte, kind) in damages {
            let at = at.index(text.len());
            let end = (at + end.index(20)).min(text.len());
            match kind {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ if text.len() - (end - at) > 1 => drop(text.drain(at..end)),
                _ => {}
            }
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_taken_or_refused(text in prop_oneof![text(), damaged()], crlf in any::<bool>()) {
        let old = if crlf { "one\r\ntwo\r\nthree" } else { "one\ntwo\nthree\n" };
        let mut before = tree(&[("x", old), ("sub/x", "1\n")]);
        before.insert(b"bin".to_vec(), file(b"\0\x01\x02"));
        before.insert(b"l".to_vec(), Node::Link { target: b"x".to_vec() });
        match planned(&before, &text) {
            Ok(plan) => {
                for change in &plan.changes {
                    let path = &change.path;
                    prop_assert!(!path.is_empty() && path[0] != b'/' && !path.contains(&0));
                    prop_assert!(path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".." | b".git")));
                    prop_assert_ne!(before.get(path).unwrap_or(&Node::Missing), &change.after);
                }
                prop_assert!(plan.changes.is_sorted_by(|a, b| a.path < b.path));
            }
            Err(error) => {
                let words = error.to_string();
                prop_assert!(words.len() < 10_000, "{}", words.len());
                prop_assert!(!words.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')));
            }
        }
    }
}

/// Patches and files of few different lines, for which a careless search takes hours. The bound
/// on the work is what ends these, so that no clock is needed to see it: a search without one
/// would hang the test.
#[test]
fn searches_end() {
    let equal = "a\n".repeat(100_000);
    let long = format!("--- a/x\n+++ b/x\n@@\n{}-b\n+c\n", " a\n".repeat(30_000));
    let error = refusal(&[("x", &equal)], &long);
    assert!(
        error.contains("does not apply") || error.contains("too much work"),
        "{error}"
    );

    let two = "a\nb\n".repeat(50_000);
    let hunk = format!("@@ -77,21 +77,21 @@\n{}-a\n-a\n+c\n", " a\n b\n".repeat(10));
    let many = format!("--- a/x\n+++ b/x\n{}", hunk.repeat(10_000));
    let error = refusal(&[("x", &two)], &many);
    assert!(
        error.contains("does not apply") || error.contains("too much work"),
        "{error}"
    );

    let sections = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+a\n".repeat(9_000);
    let error = refusal(&[("x", &equal)], &sections);
    assert!(error.contains("too much work"), "{error}");

    let heads = "--- a/x\n+++ b/x\n".repeat(60_000);
    assert!(refusal(&[("x", "a\n")], &heads).contains("no hunk"));

    let names = format!("diff --git {}\n", "a ".repeat(500_000));
    assert!(refusal(&[("x", "a\n")], &names).contains("no file names can be read"));
    let names = format!("diff --git {}\n", "a/ ".repeat(180)).repeat(100);
    refusal(&[("x", "a\n")], &names);
    let deep = " a\n".repeat(100_000);
    let headed = "--- a/x\n+++ b/x\n@@ heading\n- a\n+ c\n";
    let error = refusal(&[("x", &deep)], headed);
    assert!(error.contains("too much work"), "{error}");

    let blank = format!("--- a/x\n+++ b/x\n@@\n-a\n{}+b\n", "\n".repeat(900_000));
    assert!(refusal(&[("x", "a\n")], &blank).contains("does not apply"));
    let commented = format!("--- a/x\n+++ b/x\n@@\n-a\n{}\n+b\n", "\n ".repeat(400_000));
    assert!(refusal(&[("x", "a\n")], &commented).contains("does not apply"));
}
