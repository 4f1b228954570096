//! A patch in any form: unified, of a mail, with binary content, from `*** Begin Patch` on. It is
//! applied to some small files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pyro_patch::{Node, Patch, decode_mail};

fuzz_target!(|bytes: &[u8]| apply(bytes));

fn apply(bytes: &[u8]) {
    let Ok(text) = decode_mail(bytes) else {
        return;
    };
    let Ok(mut patch) = Patch::parse(&text) else {
        return;
    };
    if patch.mentions_folder("s/api") {
        let _ = patch.strip_folder("s/api");
    }
    let Ok(reads) = patch.reads() else {
        return;
    };
    let old = |path: &[u8]| {
        assert!(reads.contains(path), "{} was not read", path.escape_ascii());
        match path {
            b"x" => file(b"class A:\n  def f():\n    one\n    two\n"),
            b"y" => file(b"one\r\ntwo\r\nthree"),
            b"bin" => file(b"\0\x01\x02"),
            b"link" => Node::Link {
                target: b"x".to_vec(),
            },
            _ => Node::Missing,
        }
    };
    match patch.plan(old) {
        Ok(plan) => {
            for change in plan.changes {
                let mut parts = change.path.split(|byte| *byte == b'/');
                assert!(parts.all(|part| !matches!(part, b"" | b"." | b".." | b".git")));
            }
        }
        Err(error) => assert!(error.to_string().len() < 100_000),
    }
}

fn file(content: &[u8]) -> Node {
    Node::File {
        content: content.into(),
        mode: 0o644,
    }
}
