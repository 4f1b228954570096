//! Ways into the parsers of a guest's bytes, for the targets in `fuzz/` and nobody else.

use std::io::Write;
use std::path::Path;

use pyro_wire::launch::{DiskFormat, DiskLayer};
use pyro_wire::shells::Size;
use tempfile::NamedTempFile;

use crate::shells::ScreenModes;
use crate::shells::screen;
use crate::workspace::layers;
use crate::workspace::patch::{Node, Patch, plain_text};
use crate::workspace::tree::Tree;

/// In memory, where that is possible: a target makes thousands of files in a second.
const ROOM: &str = "/dev/shm";

/// Looks at everything on an image.
pub fn disk_image(bytes: &[u8]) {
    walk_disk(bytes, DiskFormat::Raw);
}

/// Looks at everything on a qcow2 layer.
pub fn disk_layer(bytes: &[u8]) {
    walk_disk(bytes, DiskFormat::Qcow2);
}

/// Applies a patch, whatever its form, to some small files.
pub fn patch(bytes: &[u8]) {
    let Ok(text) = plain_text(bytes) else {
        return;
    };
    let Ok(mut patch) = Patch::parse(&text) else {
        return;
    };
    if patch.speaks_of("s/api") {
        let _ = patch.take_off("s/api");
    }
    let Ok(reads) = patch.reads() else {
        return;
    };
    let file = |content: &[u8]| Node::File {
        content: content.into(),
        mode: 0o644,
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

/// Reads what a terminal was told, in two parts, on a screen whose size the first bytes say.
pub fn terminal(bytes: &[u8]) {
    let [cols, rows, cut, text @ ..] = bytes else {
        return;
    };
    let size = Size {
        cols: (*cols).into(),
        rows: (*rows).into(),
    };
    let text = String::from_utf8_lossy(text);
    let middle = text.chars().count() * usize::from(*cut) / 256;
    let cut = text.char_indices().nth(middle).map_or(0, |(at, _)| at);
    let (before, part) = text.split_at(cut);
    let seen = screen::seen(size, before, part);
    assert!(seen.chars().all(|c| c == '\n' || !c.is_control()));
    let _ = screen::repaint(size, part);
    let mut modes = ScreenModes::default();
    modes.feed(part.as_bytes());
    let undo = modes.undo();
    modes.feed(undo.as_bytes());
    assert_eq!(modes.repeat(), "");
}

fn walk_disk(bytes: &[u8], format: DiskFormat) {
    let mut file = NamedTempFile::new_in(ROOM).expect("a file");
    file.write_all(bytes).expect("written");
    let layer = DiskLayer {
        path: Path::to_owned(file.path()),
        format,
    };
    let chain = [layer];
    let _ = layers::check(&chain);
    let Ok(tree) = Tree::disk(&chain, b"") else {
        return;
    };
    // A folder that is its own parent has no end.
    let mut left = 200;
    let mut folders = vec![Vec::new()];
    while let Some(folder) = folders.pop() {
        for entry in tree.list(&folder).unwrap_or_default() {
            if left == 0 {
                return;
            }
            left -= 1;
            let path = [folder.as_slice(), b"/", &entry.name].concat();
            let _ = tree.stat(&path);
            let _ = tree.read(&path, 64 * 1024);
            let _ = tree.target(&path);
            let _ = tree.resolve(&path, true);
            folders.push(path);
        }
    }
}
