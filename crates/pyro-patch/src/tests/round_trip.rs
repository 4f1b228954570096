//! A text diff, applied, gives the new file to the byte: with pyro's own applier and with git's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::diff::{Side, text_diff};

/// Lines that a reader of patches could take for something else.
const LINES: &[&str] = &[
    "",
    " ",
    "a",
    "b",
    "c",
    "a\r",
    "\r",
    "-",
    "+",
    "-- a/x",
    "++ b/x",
    "--- a/x",
    "+++ b/x",
    "@@ -1,2 +1,2 @@",
    "@@",
    "\\ No newline at end of file",
    "diff --git a/x b/x",
    "```",
    "\t a",
    "\u{c}",
    "\u{2028}",
    "é",
    "-- ",
    "2.47",
    "rename from x",
    "    deep",
    "deep",
];

const PATHS: &[&str] = &[
    "x",
    "a/x",
    "b/x",
    "src/with space",
    "a b/c d",
    "tab\there",
    "line\nend",
    "quo\"te",
    "back\\slash",
    "é",
    "workspace/x",
    "/x y/ b/x",
    " front",
    "end ",
    "dev/null",
    "2024-01-01 10:00",
];

fn content() -> impl Strategy<Value = String> {
    let lines = proptest::collection::vec(select(LINES), 0..30);
    (lines, any::<bool>()).prop_map(|(lines, ended)| {
        let text = lines.join("\n");
        if ended && !text.is_empty() {
            text + "\n"
        } else {
            text
        }
    })
}

/// An old text and one made of it by a few changes.
fn edited() -> impl Strategy<Value = (String, String)> {
    let change = (any::<prop::sample::Index>(), 0..3_usize, select(LINES));
    (
        content(),
        proptest::collection::vec(change, 0..4),
        any::<bool>(),
    )
        .prop_map(|(old, changes, ended)| {
            let mut lines: Vec<&str> = old.split_inclusive('\n').collect();
            for (at, kind, line) in changes {
                let at = at.index(lines.len() + 1);
                match kind {
                    0 => lines.insert(at, line),
                    1 if at < lines.len() => lines[at] = line,
                    _ if at < lines.len() => drop(lines.remove(at)),
                    _ => {}
                }
            }
            let mut new = String::new();
            for line in lines {
                new.push_str(line);
                if !line.ends_with('\n') {
                    new.push('\n');
                }
            }
            if !ended {
                new.pop();
            }
            (old, new)
        })
}

fn texts() -> impl Strategy<Value = (String, String)> {
    prop_oneof![(content(), content()), edited()]
}

/// What both sides are, from which files and links are made below.
#[derive(Clone, Debug)]
enum Shape {
    Modified,
    Added,
    Deleted,
    Link,
    BecomesLink,
    WasLink,
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        6 => Just(Shape::Modified),
        2 => Just(Shape::Added),
        2 => Just(Shape::Deleted),
        1 => Just(Shape::Link),
        1 => Just(Shape::BecomesLink),
        1 => Just(Shape::WasLink),
    ]
}

fn nodes(shape: &Shape, texts: &(String, String), modes: (u32, u32)) -> (Node, Node) {
    let file = |content: &str, mode: u32| Node::File {
        content: content.as_bytes().into(),
        mode,
    };
    let link = |text: &str| Node::Link {
        target: format!("to-{}", text.replace('\n', ".")).into_bytes(),
    };
    let (old, new) = texts;
    match shape {
        Shape::Modified => (file(old, modes.0), file(new, modes.1)),
        Shape::Added => (Node::Missing, file(new, modes.1)),
        Shape::Deleted => (file(old, modes.0), Node::Missing),
        Shape::Link => (link(old), link(new)),
        Shape::BecomesLink => (file(old, modes.0), link(new)),
        Shape::WasLink => (link(old), file(new, modes.1)),
    }
}

fn side(node: &Node) -> Side<'_> {
    match node {
        Node::File { content, mode } => Side::File {
            content,
            mode: *mode,
        },
        Node::Link { target } => Side::Link { target },
        _ => Side::Absent,
    }
}

fn diff_of(path: &str, old: &Node, new: &Node) -> String {
    let text = text_diff(path.as_bytes(), side(old), side(new)).expect("both sides are text");
    String::from_utf8(text).expect("all of it is UTF-8 here")
}

/// What the file is when a mode that is one to git stays.
fn as_told(old: &Node, new: &Node) -> Node {
    match (old, new) {
        (Node::File { mode, .. }, Node::File { content, mode: new })
            if mode & 0o100 == new & 0o100 =>
        {
            Node::File {
                content: content.clone(),
                mode: *mode,
            }
        }
        _ => new.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn pyro_applies_what_pyro_writes(
        shape in shape(),
        texts in texts(),
        modes in (select(vec![0o644, 0o755, 0o600, 0o4750]), select(vec![0o644, 0o755, 0o640])),
        path in select(PATHS),
    ) {
        let path = path.trim_start_matches('/');
        let (old, new) = nodes(&shape, &texts, modes);
        let patch = diff_of(path, &old, &new);
        let new = as_told(&old, &new);
        prop_assert_eq!(patch.is_empty(), old == new);
        if patch.is_empty() {
            return Ok(());
        }
        let key = path.as_bytes().to_vec();
        let before = Tree::from([(key.clone(), old.clone())]);
        let plan = planned(&before, patch.as_bytes())
            .map_err(|error| TestCaseError::fail(format!("{error}\n{patch}")))?;
        let after = carried_out(&before, &plan);
        prop_assert_eq!(after.get(&key).unwrap_or(&Node::Missing), &new, "{}", patch);
        prop_assert_eq!(&plan.notes, &[]);
        let status = match (&old, &new) {
            (Node::Missing, _) => Status::Added,
            (_, Node::Missing) => Status::Deleted,
            _ => Status::Modified,
        };
        prop_assert_eq!(plan.changes.iter().map(|change| change.status).collect::<Vec<_>>(), [status]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn git_applies_what_pyro_writes(
        shape in shape(),
        texts in texts(),
        modes in (select(vec![0o644, 0o664, 0o755]), select(vec![0o644, 0o600, 0o755, 0o775])),
        path in select(PATHS),
    ) {
        let path = path.trim_start_matches('/');
        let (old, new) = nodes(&shape, &texts, modes);
        let patch = diff_of(path, &old, &new);
        if patch.is_empty() {
            return Ok(());
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        match &old {
            Node::File { content, mode } => {
                fs::write(&at, content).unwrap();
                fs::set_permissions(&at, fs::Permissions::from_mode(*mode)).unwrap();
            }
            Node::Link { target } => symlink(std::str::from_utf8(target).unwrap(), &at).unwrap(),
            _ => {}
        }
        let said = git_apply(folder.path(), &patch);
        prop_assert!(said.is_empty(), "{}\n{}", said, patch);
        prop_assert_eq!(as_git(there(&at)), as_git(new), "{}", patch);
    }
}

/// With the mode that git has for it.
fn as_git(node: Node) -> Node {
    match node {
        Node::File { content, mode } => Node::File {
            content,
            mode: mode & 0o100,
        },
        other => other,
    }
}

/// What git has against the patch.
fn git_apply(folder: &Path, patch: &str) -> String {
    use std::io::Write;
    let mut git = Command::new("git")
        .args(["-c", "core.autocrlf=false", "apply", "--whitespace=nowarn"])
        .current_dir(folder)
        .env("GIT_CEILING_DIRECTORIES", folder)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git is needed to try patches");
    git.stdin
        .take()
        .unwrap()
        .write_all(patch.as_bytes())
        .unwrap();
    let output = git.wait_with_output().unwrap();
    if output.status.success() {
        return String::new();
    }
    String::from_utf8_lossy(&output.stderr).into_owned() + "failed"
}

fn there(path: &Path) -> Node {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Node::Missing;
    };
    if meta.is_symlink() {
        let target = fs::read_link(path).unwrap();
        return Node::Link {
            target: target.into_os_string().into_encoded_bytes(),
        };
    }
    Node::File {
        content: fs::read(path).unwrap().into(),
        mode: meta.permissions().mode() & 0o777,
    }
}
