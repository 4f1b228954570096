//! Content that is no text, as git, Subversion and hg put it into patches.

use super::*;
use crate::base85::encode;

/// `git diff --binary` of three bytes; Subversion's has no `index` line, hg's no way back.
const HEAD: &str = "diff --git a/bin b/bin\n";
const IDS: &str = "index 8352675d67aed6625ece79af41c27fdb4ee2e867..\
                   1592e5c60f1a460928916dc5681fee1a9bd10868 100644\n";
const FORWARD: &str = "GIT binary patch\nliteral 3\nKc${NkWCj2L2ml2D\n\n";
const BACK: &str = "literal 3\nKc${NkWC8#H2LJ>B\n\n";

fn bin(content: &[u8]) -> Tree {
    Tree::from([(b"bin".to_vec(), file(content))])
}

#[track_caller]
fn problem(tree: &Tree, patch: &str) -> String {
    planned(tree, patch.as_bytes()).unwrap_err().to_string()
}

#[test]
fn what_is_there_must_be_what_the_patch_was_made_from() {
    for patch in [
        format!("{HEAD}{IDS}{FORWARD}{BACK}"),
        format!("{HEAD}{IDS}{FORWARD}"),
        format!("Index: bin\n{HEAD}{FORWARD}{BACK}Index: y\n"),
        format!("{HEAD}{IDS}{FORWARD}{BACK}").replace('\n', "\r\n"),
    ] {
        let plan = planned(&bin(b"\0\x01\x02"), patch.as_bytes()).unwrap();
        assert_eq!(plan.changes[0].after, file(b"\0\x01\x03"));
        let error = problem(&bin(b"\0\x01\x04"), &patch);
        assert!(
            error.contains("not the one that the patch was made from"),
            "{error}"
        );
    }
    let error = problem(&bin(b"\0\x01\x02"), &format!("{HEAD}{FORWARD}"));
    assert!(
        error.contains("neither an `index` line nor a reverse delta"),
        "{error}"
    );
}

#[test]
fn damage_is_told() {
    let tree = bin(b"\0\x01\x02");
    let whole = format!("{HEAD}{IDS}{FORWARD}{BACK}");
    for (from, to, words) in [
        (
            "Kc${NkWCj2L2ml2D",
            "Kc${NkWCj2L2nl2D",
            "the binary part for /workspace/bin does not fit",
        ),
        (
            "Kc${NkWCj2L2ml2D",
            "Kc${NkWCj2L2ml",
            "not a line of git's base 85",
        ),
        (
            "Kc${NkWCj2L2ml2D",
            "Kc\"{NkWCj2L2ml2D",
            "not a line of git's base 85",
        ),
        (
            "Kc${NkWCj2L2ml2D",
            "K~~~~~~~~~~~~~~~",
            "not a line of git's base 85",
        ),
        (
            "literal 3\nKc${NkWCj",
            "literal 2\nKc${NkWCj",
            "is not the one that it states",
        ),
        (
            "literal 3\nKc${NkWCj",
            "literal 4\nKc${NkWCj",
            "is not the one that it states",
        ),
        (
            "literal 3\nKc${NkWCj",
            "literal x\nKc${NkWCj",
            "is a number",
        ),
        (
            "literal 3\nKc${NkWCj",
            "literal 9999999\nKc${NkWCj",
            "larger than 8388608 bytes",
        ),
        (
            "1592e5c6",
            "1592e5c7",
            "does not result in the content that it names",
        ),
        (
            "literal 3\nKc${NkWCj",
            "delta 3\nKc${NkWCj",
            "not the one that the patch was made from",
        ),
    ] {
        let patch = whole.replacen(from, to, 1);
        assert_ne!(patch, whole);
        let error = problem(&tree, &patch);
        assert!(error.contains(words), "{to}: {error}");
    }
}

/// Small texts that unpack to much: a bound ends it, not the memory.
#[test]
fn what_unpacks_to_much_is_bounded() {
    let packed = {
        use std::io::Write;
        let mut to = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        to.write_all(&vec![0; MAX_FILE]).unwrap();
        to.finish().unwrap()
    };
    let body = base85(&packed);
    let lying = format!("{HEAD}GIT binary patch\nliteral 10\n{body}\nliteral 0\nHcmV?d00001\n\n");
    let error = problem(&bin(b""), &lying);
    assert!(error.contains("is not the one that it states"), "{error}");

    let honest: String = (0..40)
        .map(|number| {
            format!(
                "diff --git a/f{number} b/f{number}\nnew file mode 100644\nGIT binary patch\n\
                 literal {MAX_FILE}\n{body}\n"
            )
        })
        .collect();
    let error = problem(&Tree::new(), &honest);
    assert!(
        error.contains("too large together") || error.contains("too much work"),
        "{error}"
    );
}

#[test]
fn differences_stay_within_the_file() {
    let old = b"0123456789";
    for (delta, words) in [
        (&[10, 4, 0x91, 8, 4][..], "reads beyond the file"),
        (
            &[10, 4, 0xff, 255, 255, 255, 255, 255, 255, 255],
            "reads beyond the file",
        ),
        (&[10, 2, 0x91, 0, 4], "produces too much"),
        (&[10, 8, 0x91, 0, 4], "is cut"),
        (&[10, 4, 0x91, 0], "is cut"),
        (&[10, 4, 5, b'x'], "is cut"),
        (&[10, 4, 0], "unknown part"),
        (&[10, 0xff, 0xff, 0xff, 0x7f, 1], "more than 8388608 bytes"),
        (&[10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "is cut"),
        (&[], "is cut"),
        (&[11, 4, 0x91, 0, 4], "not the one"),
    ] {
        let error = problem(&bin(old), &delta_patch(delta));
        assert!(error.contains(words), "{delta:?}: {error}");
    }
    // Without an `index` line and a way back nothing tells that it fits.
    let good = [10, 5, 0x91, 2, 4, 1, b'x'];
    let error = problem(&bin(old), &delta_patch(&good));
    assert!(error.contains("neither an `index` line"), "{error}");
}

fn delta_patch(delta: &[u8]) -> String {
    use std::io::Write;
    let mut to = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(delta).unwrap();
    let body = base85(&to.finish().unwrap());
    format!("{HEAD}GIT binary patch\ndelta {}\n{body}\n", delta.len())
}

/// As git writes it.
fn base85(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    encode(bytes, &mut text);
    String::from_utf8(text).unwrap()
}
