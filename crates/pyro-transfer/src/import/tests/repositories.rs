//! Sources whose `.git` is a file: what arrives must be a repository that git takes.

use super::selection::git;
use super::*;
use crate::host_paths::AllowedFolders;

/// Writes what was packed into a folder, as a guest would.
fn land(unpacked: &Unpacked, to: &Path) {
    for (name, (member, data)) in unpacked {
        let path = to.join(OsStr::from_bytes(name));
        match &member.kind {
            MemberKind::Folder => fs::create_dir_all(&path).unwrap(),
            MemberKind::File => fs::write(&path, data).unwrap(),
            MemberKind::Symlink { target } => symlink(OsStr::from_bytes(target), &path).unwrap(),
            MemberKind::HardLink { target } => {
                fs::copy(to.join(OsStr::from_bytes(target)), &path)
                    .map(drop)
                    .unwrap();
            }
            MemberKind::Special(_) => unreachable!(),
        }
    }
}

/// What arrives of a folder, in a place where nothing else is, and the notes.
fn arrived(folder: &Path) -> (tempfile::TempDir, Vec<String>) {
    let source = Source::open(folder, None).unwrap();
    let (_, unpacked, survey) = pack_source(&source, None).unwrap();
    let there = tempfile::tempdir().unwrap();
    land(&unpacked, there.path());
    (there, survey.notes())
}

fn write(path: PathBuf, text: &str) {
    fs::write(path, text).unwrap();
}

/// A repository with two commits.
fn repository(at: &Path) {
    fs::create_dir(at).unwrap();
    git(at, &["init", "-q", "-b", "main"]);
    for content in ["one", "two"] {
        write(at.join("file"), content);
        git(at, &["add", "."]);
        git(at, &["commit", "-qm", content]);
    }
}

/// Makes a commit where a source arrived.
fn works(folder: &Path, branch: &str) {
    git(folder, &["fsck", "--strict"]);
    assert_eq!(
        git(folder, &["rev-parse", "--abbrev-ref", "HEAD"]).trim(),
        branch
    );
    let before = git(folder, &["rev-list", "--count", "HEAD"]);
    write(folder.join("by the guest"), "x");
    git(folder, &["add", "."]);
    git(folder, &["commit", "-qm", "guest"]);
    let after = git(folder, &["rev-list", "--count", "HEAD"]);
    let count = |text: String| text.trim().parse::<u32>().unwrap();
    assert_eq!(count(after), count(before) + 1);
    assert_eq!(git(folder, &["status", "--porcelain"]), "");
}

#[test]
fn a_worktree_is_a_repository_where_it_arrives() {
    let host = tempfile::tempdir().unwrap();
    let main = host.path().join("main");
    repository(&main);
    git(&main, &["worktree", "add", "-q", "-b", "task", "../tree"]);
    git(&main, &["worktree", "add", "-q", "-b", "other", "../other"]);
    let tree = host.path().join("tree");
    write(tree.join("file"), "edited");
    write(tree.join("staged"), "staged");
    git(&tree, &["add", "staged"]);
    write(main.join(".git/objects/tmp_obj_1"), "half");
    let (there, notes) = arrived(&tree);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("separate repository"), "{notes:?}");
    let status = git(there.path(), &["status", "--porcelain"]);
    assert_eq!(status, " M file\nA  staged\n");
    assert_eq!(git(there.path(), &["log", "--format=%s"]), "two\none\n");
    // Nobody else has this branch, and others can be had.
    git(there.path(), &["stash", "-q"]);
    git(there.path(), &["checkout", "-q", "other"]);
    git(there.path(), &["checkout", "-q", "task"]);
    works(there.path(), "task");
    assert!(!there.path().join(".git/worktrees").exists());
    assert!(!there.path().join(".git/objects/tmp_obj_1").exists());
    // This host's repository is as it was.
    assert_eq!(git(&tree, &["log", "--format=%s"]), "two\none\n");

    // Nothing of it differs for a guest that has it.
    let (_, unpacked) = pack(&tree, None).unwrap();
    let (packed, _) = pack(&tree, Some(&listing(&unpacked))).unwrap();
    assert_eq!(packed.changed, Totals::default());
}

#[test]
fn a_worktree_of_a_bare_repository_works_too() {
    let host = tempfile::tempdir().unwrap();
    repository(&host.path().join("main"));
    git(host.path(), &["clone", "-q", "--bare", "main", "bare.git"]);
    let bare = host.path().join("bare.git");
    for (number, setting) in ["false", "true"].into_iter().enumerate() {
        git(&bare, &["config", "extensions.worktreeConfig", setting]);
        let name = format!("../tree{number}");
        let branch = format!("task{number}");
        git(&bare, &["worktree", "add", "-q", "-b", &branch, &name]);
        let (there, _) = arrived(&bare.join(name));
        works(there.path(), &branch);
    }
}

#[test]
fn a_submodule_works_alone_and_in_all_that_is_around_it() {
    let host = tempfile::tempdir().unwrap();
    repository(&host.path().join("library"));
    let main = host.path().join("main");
    repository(&main);
    git(
        &main,
        &["submodule", "--quiet", "add", "../library", "sub/library"],
    );
    git(&main, &["commit", "-qm", "submodule"]);
    git(&main.join("sub/library"), &["checkout", "-qb", "task"]);

    let (there, _) = arrived(&main.join("sub/library"));
    works(there.path(), "task");

    let (there, notes) = arrived(&main);
    assert_eq!(notes, [""; 0]);
    works(&there.path().join("sub/library"), "task");
    git(there.path(), &["status"]);

    // In a worktree the submodule is elsewhere once more.
    git(&main, &["worktree", "add", "-q", "-b", "tree", "../tree"]);
    let tree = host.path().join("tree");
    git(&tree, &["submodule", "--quiet", "update", "--init"]);
    let (there, notes) = arrived(&tree);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_eq!(git(there.path(), &["status", "--porcelain"]), "");
    git(
        &there.path().join("sub/library"),
        &["checkout", "-qb", "task"],
    );
    works(&there.path().join("sub/library"), "task");
}

#[test]
fn what_will_not_work_is_told() {
    let host = tempfile::tempdir().unwrap();
    let at = |name: &str| host.path().join(name);
    repository(&at("main"));
    git(host.path(), &["clone", "-q", "--shared", "main", "shared"]);
    let separate = [
        "clone",
        "-q",
        "--separate-git-dir",
        "apart.git",
        "main",
        "separate",
    ];
    git(host.path(), &separate);
    git(&at("main"), &["worktree", "add", "-q", "inside"]);
    git(&at("shared"), &["worktree", "add", "-q", "../borrowed"]);
    for (name, told) in [
        ("shared", "borrows objects"),
        ("borrowed", "borrows objects"),
        ("separate", "separate git directory"),
        ("main", "seed that worktree by itself"),
    ] {
        let (_, notes) = arrived(&at(name));
        let notes = notes.join("\n");
        assert!(notes.contains("git will not work with"), "{name}: {notes}");
        assert!(notes.contains(told), "{name}: {notes}");
    }
    let (there, _) = arrived(&at("main/inside"));
    works(there.path(), "inside");
    // Where it is told that git will not work with one inside, its branch is free.
    let (there, _) = arrived(&at("main"));
    git(there.path(), &["checkout", "-q", "inside"]);
}

/// A folder that somebody got from elsewhere names whatever it likes.
#[test]
fn a_pointer_that_lies_brings_nothing() {
    let host = tempfile::tempdir().unwrap();
    let at = |name: &str| host.path().join(name);
    repository(&at("private"));
    git(&at("private"), &["worktree", "add", "-q", "../theirs"]);
    let private = at("private/.git").display().to_string();
    fs::create_dir_all(at("hostile/fake/worktrees/x")).unwrap();
    let fake = at("hostile/fake/worktrees/x").display().to_string();
    write(
        at("hostile/fake/worktrees/x/gitdir"),
        &at("hostile/.git").display().to_string(),
    );
    for common in [private.clone(), "../../../../private/.git".to_owned()] {
        write(at("hostile/fake/worktrees/x/commondir"), &common);
        for pointer in [
            &private,
            &format!("{private}/worktrees/theirs"),
            &fake,
            "../private/.git",
            "/etc",
            "/nowhere",
            "",
        ] {
            write(at("hostile/.git"), &format!("gitdir: {pointer}\n"));
            let source = Source::open(&at("hostile"), None).unwrap();
            let (_, unpacked, survey) = pack_source(&source, None).unwrap();
            assert_eq!(unpacked[&b".git"[..]].0.kind, MemberKind::File, "{pointer}");
            let notes = survey.notes().join("\n");
            assert!(notes.contains("git will not work"), "{pointer}: {notes}");
        }
    }
}

#[test]
fn a_repository_outside_of_the_allowed_folders_is_left_where_it_is() {
    let host = tempfile::tempdir().unwrap();
    repository(&host.path().join("main"));
    git(
        &host.path().join("main"),
        &["worktree", "add", "-q", "../tree"],
    );
    let tree = host.path().join("tree");
    let packed = |folders: &[&str]| {
        let folders = folders.iter().map(|name| host.path().join(name));
        let allowed = AllowedFolders::Only(folders.collect());
        let source = Source::open(&tree, None)
            .unwrap()
            .limited(Filter::none(), allowed);
        let (_, unpacked, survey) = pack_source(&source, None).unwrap();
        (
            unpacked[&b".git"[..]].0.kind.clone(),
            survey.notes().join("\n"),
        )
    };
    let (kind, notes) = packed(&["tree"]);
    assert_eq!(kind, MemberKind::File);
    assert!(notes.contains("outside the folders"), "{notes}");
    let (kind, notes) = packed(&["tree", "main"]);
    assert_eq!(kind, MemberKind::Folder, "{notes}");
}

/// Nothing waits for somebody to write into a FIFO.
#[test]
fn a_repository_of_fifos_is_refused_and_holds_nobody() {
    let host = tempfile::tempdir().unwrap();
    let at = |name: &str| host.path().join(name);
    repository(&at("main"));
    git(&at("main"), &["worktree", "add", "-q", "../tree"]);
    let own = at("main/.git/worktrees/tree");
    for file in ["index", "HEAD", "commondir", "gitdir"] {
        let file = own.join(file);
        let content = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, Mode::S_IRWXU).unwrap();
        let wanted = Filter {
            gitignore: true,
            ..Filter::none()
        };
        let source = Source::open(&at("tree"), None).unwrap();
        let source = source.limited(wanted, AllowedFolders::All);
        // Those that say what belongs together make a pointer that leads nowhere.
        if let Err(error) = pack_source(&source, None) {
            assert!(matches!(error, ImportError::Refused { .. }), "{error:?}");
        }
        fs::remove_file(&file).unwrap();
        fs::write(&file, content).unwrap();
    }
}

#[test]
fn branches_of_worktrees_elsewhere_can_be_had() {
    let host = tempfile::tempdir().unwrap();
    let main = host.path().join("main");
    repository(&main);
    git(&main, &["worktree", "add", "-q", "-b", "task", "../tree"]);
    git(&main, &["worktree", "add", "-q", "-b", "within", "inside"]);
    // A branch that is only called so.
    git(&main, &["branch", "worktrees/a/b"]);
    let (there, _) = arrived(&main);
    git(there.path(), &["checkout", "-q", "within"]);
    git(there.path(), &["checkout", "-q", "task"]);
    git(there.path(), &["rev-parse", "worktrees/a/b"]);
    works(there.path(), "task");

    git(host.path(), &["clone", "-q", "--bare", "main", "bare.git"]);
    let bare = host.path().join("bare.git");
    git(&bare, &["worktree", "add", "-q", "../other", "task"]);
    let (there, _) = arrived(&bare);
    git(there.path(), &["worktree", "add", "-q", "here", "task"]);
}

#[test]
fn an_archive_that_git_will_not_work_with_is_told() {
    let host = tempfile::tempdir().unwrap();
    let at = |name: &str| host.path().join(name);
    repository(&at("library"));
    repository(&at("main"));
    git(
        &at("main"),
        &["submodule", "--quiet", "add", "../library", "sub"],
    );
    git(&at("main"), &["worktree", "add", "-q", "../tree"]);
    git(
        host.path(),
        &["clone", "-q", "--shared", "library", "shared"],
    );
    for (name, told) in [
        ("tree", "leads out of the archive"),
        ("shared", "borrows objects"),
        ("main", ""),
    ] {
        let archive = at(&format!("{name}.tar"));
        let status = std::process::Command::new("tar")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(at(name))
            .arg(".")
            .status();
        assert!(status.unwrap().success());
        let source = Source::open(&archive, None).unwrap();
        let (_, _, survey) = pack_source(&source, None).unwrap();
        let notes = survey.notes().join("\n");
        assert_eq!(notes.is_empty(), told.is_empty(), "{name}: {notes}");
        assert!(notes.contains(told), "{name}: {notes}");
    }
}
