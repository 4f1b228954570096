//! Whole diffs, given to the programs that people apply them with: git and GNU patch.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Side, binary_diff, text_diff};

/// A file's content and mode.
type Kept = (&'static [u8], u32);

/// Before and after; every case in one patch, as one that is refused spoils the others.
const CHANGES: &[(&str, Option<Kept>, Option<Kept>)] = &[
    ("edited", Some((b"one\n", 0o664)), Some((b"two\n", 0o644))),
    (
        "mode-of-one-kind",
        Some((b"a\n", 0o664)),
        Some((b"a\n", 0o644)),
    ),
    ("program", Some((b"a\n", 0o664)), Some((b"a\n", 0o775))),
    ("empty-gone", Some((b"", 0o644)), None),
    ("empty-new", None, Some((b"", 0o644))),
    ("emptied", Some((b"a\n", 0o644)), Some((b"", 0o644))),
    ("filled", Some((b"", 0o644)), Some((b"a\n", 0o644))),
    ("gone", Some((b"a\n", 0o600)), None),
    ("new", None, Some((b"a", 0o755))),
    (
        "latin-1",
        Some((b"caf\xe9\nx\n", 0o644)),
        Some((b"th\xe9\nx\n", 0o644)),
    ),
    (
        "shift-jis",
        Some((b"\x83\x5c\n", 0o644)),
        Some((b"\x83\x5c\x83\x5c\n", 0o644)),
    ),
];

const BINARIES: &[(&str, Option<Kept>, Option<Kept>)] = &[
    (
        "bytes",
        Some((b"\0one", 0o644)),
        Some((b"\0two and more of it", 0o755)),
    ),
    (
        "utf-16",
        Some((b"\xff\xfea\0\n\0", 0o644)),
        Some((b"\xff\xfeb\0\n\0", 0o644)),
    ),
    ("new-bytes", None, Some((&[0; 5000], 0o644))),
    ("gone-bytes", Some((b"\0\x01\x02", 0o644)), None),
    ("text-no-more", Some((b"a\n", 0o644)), Some((b"\0", 0o644))),
    ("emptied-bytes", Some((b"\0", 0o644)), Some((b"", 0o644))),
];

fn side(kept: Option<Kept>) -> Side<'static> {
    kept.map_or(Side::Absent, |(content, mode)| Side::File { content, mode })
}

fn before(folder: &Path, changes: &[(&str, Option<Kept>, Option<Kept>)]) {
    for (name, before, _) in changes {
        if let Some((content, mode)) = before {
            fs::write(folder.join(name), content).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(*mode)).unwrap();
        }
    }
}

fn run_with_input(folder: &Path, program: &str, arguments: &[&str], patch: &[u8]) {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git and GNU patch are needed to try diffs");
    child.stdin.take().unwrap().write_all(patch).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {stderr}");
    assert!(stderr.is_empty(), "{program}: {stderr}");
}

fn assert_after(folder: &Path, changes: &[(&str, Option<Kept>, Option<Kept>)], by: &str) {
    let mut there = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == ".git" {
            continue;
        }
        let runs = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
        there.insert(name, (fs::read(entry.path()).unwrap(), runs));
    }
    for (name, _, after) in changes {
        let now = there.remove(*name);
        let wanted = after.map(|(content, mode)| (content.to_vec(), mode & 0o100 != 0));
        assert!(now == wanted, "{by}: {name} is {now:?}");
    }
    assert!(there.is_empty(), "{by} left {there:?}");
}

#[test]
fn git_and_gnu_patch_take_a_whole_diff() {
    let patch: Vec<u8> = CHANGES
        .iter()
        .flat_map(|(name, before, after)| {
            text_diff(name.as_bytes(), side(*before), side(*after)).unwrap()
        })
        .collect();
    for (program, arguments, in_repository) in [
        ("git", &["apply", "--whitespace=nowarn"][..], false),
        ("git", &["apply", "--whitespace=nowarn", "--index"], true),
        ("patch", &["-p1"], false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        before(folder.path(), CHANGES);
        if in_repository {
            run_with_input(folder.path(), "git", &["init", "--quiet"], b"");
            run_with_input(folder.path(), "git", &["add", "--all"], b"");
        }
        run_with_input(folder.path(), program, arguments, &patch);
        assert_after(folder.path(), CHANGES, program);
    }
}

#[test]
fn git_takes_what_is_no_text_in_both_directions() {
    let patch: Vec<u8> = BINARIES
        .iter()
        .flat_map(|(name, before, after)| {
            binary_diff(name.as_bytes(), side(*before), side(*after)).unwrap()
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    before(folder.path(), BINARIES);
    run_with_input(folder.path(), "git", &["apply"], &patch);
    assert_after(folder.path(), BINARIES, "git apply");
    run_with_input(folder.path(), "git", &["apply", "--reverse"], &patch);
    let back: Vec<_> = BINARIES
        .iter()
        .map(|(name, before, after)| (*name, *after, *before))
        .collect();
    assert_after(folder.path(), &back, "git apply --reverse");
}
