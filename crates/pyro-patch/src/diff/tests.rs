use proptest::prelude::*;

use super::changes::changes;
use super::*;

fn file(content: &str) -> Side<'_> {
    Side::File {
        content: content.as_bytes(),
        mode: 0o644,
    }
}

fn words(path: &[u8], before: Side<'_>, after: Side<'_>) -> String {
    String::from_utf8(text_diff(path, before, after).unwrap()).unwrap()
}

#[test]
fn a_change_has_three_lines_of_context() {
    let old: String = (1..=20).map(|line| format!("{line}\n")).collect();
    let new = old.replace("\n5\n", "\nfive\n").replace("\n20\n", "\n20");
    assert_eq!(
        words(b"src/x", file(&old), file(&new)),
        "diff --git a/src/x b/src/x\n--- a/src/x\n+++ b/src/x\n\
         @@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n\
         @@ -17,4 +17,4 @@\n 17\n 18\n 19\n-20\n+20\n\\ No newline at end of file\n"
    );
}

#[test]
fn each_kind_of_change_has_its_head() {
    let program = Side::File {
        content: b"a\n",
        mode: 0o755,
    };
    let link = Side::Link { target: b"a" };
    let made =
        "diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n";
    let gone =
        "diff --git a/x b/x\ndeleted file mode 100644\n--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n";
    let linked = "diff --git a/x b/x\nnew file mode 120000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n\\ No newline at end of file\n";
    for (before, after, wanted) in [
        (file("a\n"), file("a\n"), ""),
        (Side::Absent, file("a\n"), made),
        (
            Side::Absent,
            file(""),
            "diff --git a/x b/x\nnew file mode 100644\nindex 0000000..e69de29\n",
        ),
        (
            file(""),
            Side::Absent,
            "diff --git a/x b/x\ndeleted file mode 100644\nindex e69de29..0000000\n",
        ),
        (file("a\n"), Side::Absent, gone),
        (
            file("a\n"),
            program,
            "diff --git a/x b/x\nold mode 100644\nnew mode 100755\n",
        ),
        (file("a\n"), link, &format!("{gone}{linked}")),
    ] {
        assert_eq!(words(b"x", before, after), wanted);
    }
}

#[test]
fn odd_names_are_quoted_as_git_does() {
    for (path, head) in [
        (b"a b".as_slice(), "diff --git a/a b b/a b\n--- a/a b\t\n"),
        ("é".as_bytes(), "diff --git a/é b/é\n--- a/é\n"),
        (
            b"a\tb\"",
            "diff --git \"a/a\\tb\\\"\" \"b/a\\tb\\\"\"\n--- \"a/a\\tb\\\"\"\n",
        ),
        (
            b"\xe9",
            "diff --git \"a/\\351\" \"b/\\351\"\n--- \"a/\\351\"\n",
        ),
        (
            b"\x1b[",
            "diff --git \"a/\\033[\" \"b/\\033[\"\n--- \"a/\\033[\"\n",
        ),
    ] {
        let text = words(path, file("a\n"), file("b\n"));
        assert!(text.starts_with(head), "{text}");
    }
}

#[test]
fn what_is_no_text_has_no_diff() {
    let long = "a\n".repeat(MAX_FILE / 2 + 1);
    for (before, after) in [
        (b"a\0".as_slice(), b"b".as_slice()),
        (b"a", long.as_bytes()),
    ] {
        let side = |content| Side::File {
            content,
            mode: 0o644,
        };
        assert_eq!(text_diff(b"x", side(before), side(after)), None);
        // The mode alone needs no content.
        let program = Side::File {
            content: after,
            mode: 0o755,
        };
        assert!(text_diff(b"x", side(after), program).is_some());
    }
}

#[test]
fn a_mode_is_told_where_git_knows_the_difference() {
    let mode = |mode| Side::File {
        content: b"a\n",
        mode,
    };
    let edited = Side::File {
        content: b"b\n",
        mode: 0o600,
    };
    for (before, after, head) in [
        (mode(0o664), mode(0o644), ""),
        (mode(0o755), mode(0o4755), ""),
        (mode(0o700), mode(0o775), ""),
        (
            mode(0o664),
            mode(0o775),
            "diff --git a/x b/x\nold mode 100664\nnew mode 100775\n",
        ),
        (
            mode(0o640),
            Side::Absent,
            "diff --git a/x b/x\ndeleted file mode 100644\n--- a/x\n",
        ),
        (
            Side::Absent,
            mode(0o600),
            "diff --git a/x b/x\nnew file mode 100600\n--- /dev/null\n",
        ),
        (
            mode(0o644),
            edited,
            "diff --git a/x b/x\n--- a/x\n+++ b/x\n",
        ),
    ] {
        let text = words(b"x", before, after);
        assert!(
            text.starts_with(head) && text.is_empty() == head.is_empty(),
            "{text}"
        );
    }
}

#[test]
fn text_of_every_encoding_is_written_byte_for_byte() {
    let side = |content| Side::File {
        content,
        mode: 0o644,
    };
    let latin = text_diff(b"x", side(b"caf\xe9\n"), side(b"th\xe9\n")).unwrap();
    assert!(latin.ends_with(b"@@ -1 +1 @@\n-caf\xe9\n+th\xe9\n"));
    // Shift-JIS, whose second bytes may be a backslash.
    let japanese = text_diff(b"x", side(b""), side(b"\x83\x5c\n")).unwrap();
    assert!(japanese.ends_with(b"@@ -0,0 +1 @@\n+\x83\x5c\n"));
    assert_eq!(text_diff(b"x", side(b""), side(b"\xff\xfea\0\n\0")), None);
}

/// What takes imara-diff alone most of an hour; the test ends as the work is bounded.
#[test]
fn a_diff_of_few_different_lines_ends() {
    let text = |seed: u64| -> String {
        let mut state = seed;
        (0..1_000_000)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                if state >> 63 == 0 { "a\n" } else { "b\n" }
            })
            .collect()
    };
    let (old, new) = (text(1), text(2));
    let text = words(b"x", file(&old), file(&new));
    assert!(text.len() <= old.len() + new.len() + 3_000_000);
}

/// Lines of a number of kinds, with stretches of the same on both sides.
fn sides() -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    let piece = (0..3_u8, 1..4_000_usize, 1..5_000_u64, any::<u64>());
    proptest::collection::vec(piece, 1..6).prop_map(|pieces| {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for (sides, count, kinds, seed) in pieces {
            let lines = (0..count as u64).map(|line| {
                let mixed = (line ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
                format!("{}\n", mixed % kinds)
            });
            for line in lines {
                if sides != 1 {
                    old.push(line.clone());
                }
                if sides != 2 {
                    new.push(line);
                }
            }
        }
        (old, new)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 60, ..ProptestConfig::default() })]

    /// Long enough to be cut into stretches.
    #[test]
    fn changes_lead_from_old_to_new((old, new) in sides()) {
        let old: Vec<&[u8]> = old.iter().map(String::as_bytes).collect();
        let new: Vec<&[u8]> = new.iter().map(String::as_bytes).collect();
        let (mut old_at, mut new_at) = (0, 0);
        for change in changes(&old, &new) {
            prop_assert!(old_at <= change.old.start);
            prop_assert_eq!(&old[old_at..change.old.start], &new[new_at..change.new.start]);
            (old_at, new_at) = (change.old.end, change.new.end);
        }
        prop_assert_eq!(&old[old_at..], &new[new_at..]);
    }
}
