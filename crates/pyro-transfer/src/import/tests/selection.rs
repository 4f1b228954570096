//! What is left out, and what is told about the rest.

use std::os::unix::net::UnixListener;
use std::process::Command;

use nix::fcntl::{self, OFlag};
use nix::sys::stat::mkdirat;

use super::*;
use crate::host_paths::AllowedFolders;

fn limited(path: &Path, exclude: &[&str], gitignore: bool) -> Source {
    let patterns = Patterns::read(exclude.iter().copied(), |line| panic!("{line}"));
    let wanted = Filter {
        patterns,
        gitignore,
    };
    Source::open(path, None)
        .unwrap()
        .limited(wanted, AllowedFolders::All)
}

fn names(unpacked: &Unpacked) -> Vec<String> {
    let names = unpacked
        .keys()
        .map(|name| String::from_utf8_lossy(name).into_owned());
    names.filter(|name| !name.contains(".git/")).collect()
}

fn plant(folder: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[test]
fn links_that_leave_and_sockets_stop_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    plant(folder.path(), &[("file", "x")]);
    symlink("/usr/bin/python3", at("abs")).unwrap();
    symlink("../up", at("up")).unwrap();
    symlink(at("file"), at("own")).unwrap();
    symlink("file", at("inside")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    fs::set_permissions(at("file"), fs::Permissions::from_mode(0o4755)).unwrap();
    let source = Source::open(folder.path(), None).unwrap();
    let (packed, unpacked, survey) = pack_source(&source, None).unwrap();
    assert_eq!(packed.whole.entries, 5);
    let target = b"/usr/bin/python3".to_vec();
    assert_eq!(unpacked[&b"abs"[..]].0.kind, MemberKind::Symlink { target });
    assert_eq!(unpacked[&b"file"[..]].0.mode, 0o755);
    let (left_out, lines) = (survey.left_out(), survey.notes());
    assert_eq!(left_out.entries, 0);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].starts_with("3 links lead out of the source"),
        "{lines:?}"
    );
    assert!(
        lines[0].contains("`abs` -> `/usr/bin/python3`"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("socket was left out: `socket`"),
        "{lines:?}"
    );
    assert!(
        lines[2].contains("set-user-id") && lines[2].contains("`file`"),
        "{lines:?}"
    );

    let archive = at("x.tar");
    fs::write(
        &archive,
        tar(&[symbolic("l", "/etc"), symbolic("d/l", "../../x")]),
    )
    .unwrap();
    let (_, unpacked, survey) = pack_source(&Source::open(&archive, None).unwrap(), None).unwrap();
    assert_eq!(unpacked.len(), 2);
    assert!(survey.notes()[0].starts_with("2 links"));
}

#[test]
fn what_patterns_name_is_left_out_and_told() {
    let folder = tempfile::tempdir().unwrap();
    plant(
        folder.path(),
        &[
            (".pyroignore", "/data/\n*.bin\n[z-a]\n"),
            ("data/huge", "12345"),
            ("sub/data/kept", ""),
            ("sub/.pyroignore", "!keep.bin\n"),
            ("sub/keep.bin", ""),
            ("sub/other.bin", "1"),
            ("node_modules/a/b/c", "123"),
            ("node_modules/a/d", "4"),
            ("main.py", ""),
        ],
    );
    // What cannot be taken can be left out.
    nix::unistd::mkfifo(&folder.path().join("pipe"), Mode::S_IRUSR).unwrap();
    let source = limited(folder.path(), &["node_modules/", "pipe"], false);
    let (packed, unpacked, survey) = pack_source(&source, None).unwrap();
    let expected = [
        ".pyroignore",
        "main.py",
        "sub",
        "sub/.pyroignore",
        "sub/data",
        "sub/data/kept",
        "sub/keep.bin",
    ];
    assert_eq!(names(&unpacked), expected);
    assert_eq!(packed.whole.entries, 7);
    let (mut left_out, lines) = (survey.left_out().clone(), survey.notes());
    left_out.paths.sort();
    assert_eq!(
        left_out.paths,
        ["data/", "node_modules/", "pipe", "sub/other.bin"]
    );
    assert_eq!(
        (left_out.entries, left_out.bytes),
        (2 + 5 + 1 + 1, 5 + 4 + 1)
    );
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("`[z-a]`"), "{lines:?}");

    let mut members = vec![file("a/b.log", "123"), file("build/x", "4"), file("c", "")];
    members.push(special("build/", MemberKind::Folder));
    let archive = written(&folder, "x.tar", &tar(&members));
    let source = limited(&archive, &["*.log", "build/"], false);
    let (_, unpacked, survey) = pack_source(&source, None).unwrap();
    assert_eq!(names(&unpacked), ["c"]);
    let left_out = survey.left_out();
    assert_eq!((left_out.entries, left_out.bytes), (3, 4));
}

#[test]
fn a_path_that_no_system_call_takes_is_refused_by_name_unless_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let long = "n".repeat(250);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let mut inner = fcntl::open(folder.path(), flags, Mode::empty()).unwrap();
    for _ in 0..17 {
        mkdirat(&inner, long.as_str(), Mode::S_IRWXU).unwrap();
        inner = fcntl::openat(&inner, long.as_str(), flags, Mode::empty()).unwrap();
    }
    let (_, why) = refusal(pack(folder.path(), None));
    assert!(why.contains("longer than Linux allows"), "{why}");
    let source = limited(folder.path(), &["nnn*"], false);
    let (packed, _, survey) = pack_source(&source, None).unwrap();
    assert_eq!(packed.whole.entries, 0);
    assert_eq!(survey.left_out().entries, 17);
}

pub(super) fn git(folder: &Path, words: &[&str]) -> String {
    let ran = Command::new("git")
        .args([
            "-c",
            "user.name=n",
            "-c",
            "user.email=e@x",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(words)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{words:?}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn what_git_ignores_is_left_out_unless_it_is_tracked() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    plant(
        &repository,
        &[
            (".gitignore", "*.log\n/out/\nsub/ignored\nlogs/\n"),
            ("a.log", ""),
            ("tracked.log", ""),
            ("out/tracked/file", ""),
            ("out/tracked/other", ""),
            ("out/other/file", ""),
            ("sub/.gitignore", "!b.log\n*.tmp\n"),
            ("sub/b.log", ""),
            ("sub/c.tmp", ""),
            ("sub/ignored", ""),
            ("inner/d.log", ""),
            ("by-exclude", ""),
        ],
    );
    git(&repository, &["init", "-q"]);
    git(
        &repository,
        &["add", "-f", "tracked.log", "out/tracked/file", ".gitignore"],
    );
    git(&repository, &["commit", "-qm", "first"]);
    // A repository inside has rules of its own.
    git(&repository.join("inner"), &["init", "-q"]);
    let exclude = repository.join(".git/info/exclude");
    fs::write(exclude, "by-exclude\n").unwrap();
    let expected = [
        ".git",
        ".gitignore",
        "inner",
        "inner/.git",
        "inner/d.log",
        "out",
        "out/tracked",
        "out/tracked/file",
        "sub",
        "sub/.gitignore",
        "sub/b.log",
        "tracked.log",
    ];
    let (_, unpacked, _) = pack_source(&limited(&repository, &[], true), None).unwrap();
    assert_eq!(names(&unpacked), expected);
    assert!(unpacked.contains_key(&b".git/logs/HEAD"[..]));
    let (_, unpacked, _) = pack_source(&limited(&repository, &["!a.log"], true), None).unwrap();
    assert!(unpacked.contains_key(&b"a.log"[..]));

    // The same of a worktree, whose index is elsewhere.
    git(&repository, &["worktree", "add", "-q", "../tree"]);
    let tree = folder.path().join("tree");
    plant(&tree, &[("a.log", ""), ("out/tracked/other", "")]);
    let (_, unpacked, _) = pack_source(&limited(&tree, &[], true), None).unwrap();
    let expected = [
        ".git",
        ".gitignore",
        "out",
        "out/tracked",
        "out/tracked/file",
        "tracked.log",
    ];
    assert_eq!(names(&unpacked), expected);
}

/// What a part of a repository brings, and what is told.
fn part(folder: &Path, allowed: AllowedFolders) -> (Vec<String>, String) {
    let wanted = Filter {
        gitignore: true,
        ..Filter::none()
    };
    let source = Source::open(folder, None).unwrap().limited(wanted, allowed);
    let (_, unpacked, survey) = pack_source(&source, None).unwrap();
    (names(&unpacked), survey.notes().join("\n"))
}

#[test]
fn a_part_of_a_repository_is_ruled_by_the_folders_around_it() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    plant(
        &repository,
        &[
            (".gitignore", "*.log\n/a/sub/out/\n"),
            ("a/.gitignore", "*.tmp\n"),
            ("a/sub/keep.log", ""),
            ("a/sub/other.log", ""),
            ("a/sub/x.tmp", ""),
            ("a/sub/out/x", ""),
            ("a/sub/by-exclude", ""),
            ("a/sub/file", ""),
        ],
    );
    git(&repository, &["init", "-q"]);
    git(&repository, &["add", "-f", "a/sub/keep.log", "a/sub/file"]);
    git(&repository, &["commit", "-qm", "first"]);
    fs::write(repository.join(".git/info/exclude"), "by-exclude\n").unwrap();
    let sub = repository.join("a/sub");
    let (brought, notes) = part(&sub, AllowedFolders::All);
    assert_eq!(
        (brought, notes),
        (vec!["file".into(), "keep.log".into()], String::new())
    );

    // Around a part of a worktree, the index and the exclusions are elsewhere.
    git(&repository, &["worktree", "add", "-q", "../tree"]);
    let tree = folder.path().join("tree");
    plant(
        &tree,
        &[
            (".gitignore", "*.log\n"),
            ("a/sub/other.log", ""),
            ("a/sub/by-exclude", ""),
        ],
    );
    let (brought, notes) = part(&tree.join("a/sub"), AllowedFolders::All);
    assert_eq!(
        (brought, notes),
        (vec!["file".into(), "keep.log".into()], String::new())
    );
    let (brought, _) = part(&tree, AllowedFolders::All);
    assert!(!brought.contains(&"a/sub/by-exclude".into()), "{brought:?}");

    // What cannot be looked at may be tracked.
    let allowed = AllowedFolders::Only([sub.clone()].into());
    let (brought, notes) = part(&sub, allowed);
    assert!(brought.contains(&"other.log".into()), "{brought:?}");
    assert!(notes.contains("outside the folders"), "{notes}");
    fs::write(repository.join(".git/index"), "DIRC").unwrap();
    for seed in [&sub, &repository] {
        let (brought, notes) = part(seed, AllowedFolders::All);
        assert!(
            brought.iter().any(|name| name.ends_with("other.log")),
            "{brought:?}"
        );
        assert!(notes.contains("an index that cannot be read"), "{notes}");
    }
}

#[test]
fn a_file_of_rules_that_cannot_be_read_is_never_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    plant(
        folder.path(),
        &[("rules", "secret\n"), ("sub/secret", ""), ("sub/file", "")],
    );
    let rules = folder.path().join("sub/.pyroignore");
    let large = "# comment\n".repeat(200_000);
    for (kind, told) in [
        ("link", "is a link"),
        ("fifo", "is not a regular file"),
        ("large", "is too large"),
    ] {
        match kind {
            "link" => symlink("../rules", &rules).unwrap(),
            "fifo" => nix::unistd::mkfifo(&rules, Mode::S_IRUSR).unwrap(),
            _ => fs::write(&rules, &large).unwrap(),
        }
        match pack(folder.path(), None) {
            Err(ImportError::NoRules { name, why }) => {
                assert_eq!((name.as_str(), why.as_str()), ("sub/.pyroignore", told));
            }
            other => panic!("{kind}: {other:?}"),
        }
        fs::remove_file(&rules).unwrap();
    }
    // Git does not follow such a link either.
    symlink("../rules", folder.path().join("sub/.gitignore")).unwrap();
    let (brought, notes) = part(folder.path(), AllowedFolders::All);
    assert!(brought.contains(&"sub/secret".into()), "{brought:?}");
    assert!(notes.contains("`sub/.gitignore` is a link"), "{notes}");
}
