//! What git itself writes, with all of its prefixes, taken back to the byte.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::*;

/// Git, with nobody's settings.
fn git(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "A")))
        .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, "a@example.com")))
        .output()
        .expect("git is needed to try patches");
    // With `--no-index` a difference ends in 1.
    assert!(
        output.status.code().is_some_and(|code| code <= 1),
        "{arguments:?}: {}",
        words(&output.stderr)
    );
    output.stdout
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>, mode: u32) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn noise(seed: u8) -> Vec<u8> {
    (0..3000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed)
        .collect()
}

/// Names begin as prefixes do, and the folders of prefixes are there.
fn write_old(folder: &Path) {
    let long: String = (0..30).map(|line| format!("line {line}\n")).collect();
    write(folder, "x", "one\ntwo\nthree\n", 0o644);
    write(folder, "src/with space/x", "one\ntwo\n", 0o644);
    write(folder, "a/gone", "gone\n", 0o644);
    write(folder, "gone empty", "", 0o644);
    write(folder, "b/in", "in\n", 0o644);
    write(folder, "w/mode", "#!/bin/sh\n", 0o644);
    write(folder, "old/was", &long, 0o755);
    write(folder, "binary", noise(0), 0o644);
    write(folder, "latin", b"caf\xe9\nth\xe9\n", 0o644);
    write(folder, "gone.bin", noise(7), 0o644);
    symlink("x", folder.join("link")).unwrap();
}

fn write_new(folder: &Path) {
    write(folder, "x", "one\nTWO\nthree\n", 0o644);
    write(folder, "src/with space/x", "one\nTWO\n", 0o755);
    fs::remove_file(folder.join("a/gone")).unwrap();
    fs::remove_file(folder.join("gone empty")).unwrap();
    fs::remove_file(folder.join("gone.bin")).unwrap();
    write(folder, "b/new", "new\n", 0o644);
    write(folder, "new/added", "new\n", 0o755);
    write(folder, "c/empty", "", 0o644);
    write(folder, "w/mode", "#!/bin/sh\n", 0o755);
    fs::create_dir_all(folder.join("i")).unwrap();
    fs::rename(folder.join("old/was"), folder.join("i/is now")).unwrap();
    let mut binary = noise(0);
    binary[1000] ^= 1;
    binary.extend_from_slice(b"more");
    write(folder, "binary", binary, 0o644);
    write(folder, "new.bin", noise(9), 0o644);
    write(folder, "latin", b"caf\xe9\nth\xe9 vert\n", 0o644);
    fs::remove_file(folder.join("link")).unwrap();
    symlink("b/in", folder.join("link")).unwrap();
}

#[track_caller]
fn assert_carries(before: &Tree, patch: &[u8], after: &Tree, what: &dyn std::fmt::Debug) {
    let plan = planned(before, patch)
        .unwrap_or_else(|error| panic!("{what:?}: {error}\n{}", patch.escape_ascii()));
    assert_eq!(plan.notes, [], "{what:?}");
    let carried = without_folders(carried_out(before, &plan));
    let after = without_folders(after.clone());
    let paths = carried.keys().chain(after.keys());
    let other: Vec<String> = paths
        .filter(|path| carried.get(*path) != after.get(*path))
        .map(|path| words(path))
        .collect();
    assert_eq!(other, [""; 0], "{what:?}");
}

/// A patch of all, and one of each file, where nothing else tells what the prefix is.
#[test]
fn every_prefix_of_git_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    git(at, &["init", "--quiet"]);
    write_old(at);
    git(at, &["add", "--all"]);
    git(at, &["commit", "--quiet", "--message", "old"]);
    let old = read_tree(at);
    write_new(at);
    let made = ["b/new", "new/added", "c/empty", "i/is now", "new.bin"];
    git(at, &[&["add", "--intent-to-add"], &made[..]].concat());
    let new = read_tree(at);

    let mnemonic = ["-c", "diff.mnemonicPrefix=true"];
    let none = ["-c", "diff.noprefix=true"];
    let ways: [(&[&str], &[&str]); 9] = [
        (&[], &[]),
        (&mnemonic, &[]),
        (&mnemonic, &["HEAD"]),
        (&none, &[]),
        (&[], &["--no-prefix"]),
        (&[], &["--src-prefix=old/", "--dst-prefix=new/"]),
        (&[], &["--src-prefix=v1/alpha/", "--dst-prefix=v2/beta/"]),
        (&[], &["--src-prefix=was/", "--dst-prefix="]),
        (&[], &["--src-prefix=", "--dst-prefix=b/"]),
    ];
    for (settings, options) in ways {
        for back in [false, true] {
            let (before, after) = if back { (&new, &old) } else { (&old, &new) };
            let mut line = settings.to_vec();
            line.extend(["diff", "--binary", "--find-renames"]);
            line.extend(options);
            if back {
                line.push("-R");
            }
            assert_carries(before, &git(at, &line), after, &line);
            line.push("--");
            for path in before.keys().chain(after.keys()) {
                let is_folder = [before, after]
                    .map(|tree| tree.get(path))
                    .contains(&Some(&Node::Folder));
                if before.get(path) == after.get(path) || is_folder {
                    continue;
                }
                let mut line = line.clone();
                let path = str::from_utf8(path).unwrap();
                line.push(path);
                let mut changed = before.clone();
                match after.get(path.as_bytes()) {
                    Some(node) => changed.insert(path.into(), node.clone()),
                    None => changed.remove(path.as_bytes()),
                };
                assert_carries(before, &git(at, &line), &changed, &line);
            }
        }
    }
}

#[test]
fn two_folders_that_git_compared_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "old/x", "one\ntwo\n", 0o644);
    write(at, "new/x", "one\nTWO\n", 0o644);
    write(at, "old/gone", "gone\n", 0o644);
    write(at, "new/sub/added", "added\n", 0o644);
    let patch = git(at, &["diff", "--no-index", "old", "new"]);
    let old = read_tree(&at.join("old"));
    assert_carries(&old, &patch, &read_tree(&at.join("new")), &"--no-index");
}

#[test]
fn mails_of_git_are_read_with_all_that_is_around() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    git(at, &["init", "--quiet"]);
    write(at, "x", "one\ntwo\n", 0o644);
    git(at, &["add", "--all"]);
    git(at, &["commit", "--quiet", "--message", "old"]);
    let old = read_tree(at);
    write(at, "x", "one\nTWO\n", 0o644);
    let message = "Say what heads look like\n\n--- a\n+++ b\n\nand\n\n--- a/x\n+++ b/x";
    git(at, &["commit", "--quiet", "--all", "--message", message]);
    write(at, "y", "new\n", 0o644);
    git(at, &["add", "--all"]);
    git(
        at,
        &[
            "commit",
            "--quiet",
            "--all",
            "--message",
            "*** Begin Patch\n\nis a line",
        ],
    );
    let new = read_tree(at);
    let one: &[&str] = &["format-patch", "-2", "--stdout"];
    for options in [&[] as &[&str], &["--attach"], &["--inline"], &["--no-stat"]] {
        let patch = git(at, &[one, options].concat());
        assert_carries(&old, &patch, &new, &options);
    }
}

/// As the heads of `git diff` with `diff.mnemonicPrefix` are without its own line.
#[test]
fn letters_of_git_are_known_without_its_line() {
    let made = |name: &str| format!("--- /dev/null\n+++ {name}\n@@ -0,0 +1 @@\n+n\n");
    let gone = |name: &str| format!("--- {name}\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n");
    let there = &[("x", "a\n")];
    for letter in ["w", "i", "c", "o", "1", "2"] {
        let patch = made(&format!("{letter}/n"));
        assert_patched(there, &patch, &[("n", "n\n"), ("x", "a\n")]);
        let notes = planned(&tree(there), patch.as_bytes()).unwrap().notes;
        assert_eq!(
            notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [format!(
                "`{letter}/n` was taken as /workspace/n: git puts `{letter}/` before names, and \
                 there is no folder /workspace/{letter}"
            )]
        );
        assert_patched(there, &gone(&format!("{letter}/x")), &[]);
    }
    // A folder of that name that is there is meant.
    let mut tree = tree(&[("w/x", "a\n")]);
    tree.insert(b"w".to_vec(), Node::Folder);
    let plan = planned(&tree, made("w/n").as_bytes()).unwrap();
    assert_eq!(
        (plan.changes[0].path.as_slice(), plan.notes),
        (b"w/n".as_slice(), Vec::new())
    );
    assert_patched(&[("i/x", "a\n")], &gone("i/x"), &[]);
    let error = refusal(&[("i/x", "a\n"), ("x", "a\n")], &gone("i/x"));
    assert!(error.contains("`i/x` could mean"), "{error}");
    // Nothing stands before the other names.
    let other = "--- x\n+++ x\n@@ -1 +1 @@\n-a\n+b\n";
    assert_patched(
        there,
        &format!("{}{other}", made("w/n")),
        &[("w/n", "n\n"), ("x", "b\n")],
    );
}
