//! Commits made in a guest: not in the patch, told, and taken with `git am`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::surfaces::mcp::Tools;
use pyro_tests::world::{Backend, finish};
use pyro_tests::{Surface, Workspace, World, tree};
use serde_json::{Value, json};

crate::stories! { [process, vm, gvisor] [library]:
    a_commit_does_not_spoil_the_diff_and_is_taken_with_git_am,
}
crate::stories! { [process]:
    a_long_mailbox_comes_in_parts,
}
crate::stories! { [process] [library]:
    a_repository_by_another_name_is_kept_out_of_the_patch,
    many_repositories_and_slow_ones_do_not_hold_the_diff_up,
}
crate::stories! { [process] [command_line]:
    what_was_committed_is_counted_whatever_became_of_history,
}

/// Runs git on this host, and gives what it prints.
#[track_caller]
pub(super) fn git(folder: &Path, arguments: &[&str]) -> String {
    let ran = finish(
        Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
            .args(arguments)
            .current_dir(folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null"),
    );
    assert_eq!(ran.code(), 0, "git {arguments:?}: {}", ran.err());
    ran.out()
}

/// A repository with one commit.
pub(super) fn repository(folder: &Path, files: &[(&str, &str)]) -> PathBuf {
    let folder = tree::plant(folder, files);
    git(&folder, &["init", "--quiet", "--initial-branch=main"]);
    git(&folder, &["add", "--all"]);
    git(&folder, &["commit", "--quiet", "--message=first"]);
    folder
}

/// What the commits below do in a guest, whose git knows no one.
const AS_SOMEBODY: &str = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org \
    GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org HOME=/nowhere; ";

#[track_caller]
fn in_guest(workspace: &Workspace<'_>, command: &str) -> String {
    workspace.output(&format!("{AS_SOMEBODY}set -e; {command}"))
}

fn made<'a>(diff: &'a Value, repository: &str) -> &'a Value {
    let made = diff["commits"].as_array().unwrap();
    let found = made.iter().find(|made| made["repository"] == repository);
    found.unwrap_or_else(|| panic!("no {repository} in {diff:#}"))
}

#[track_caller]
fn am(folder: &Path, mailbox: &str) {
    let file = folder.with_extension("mbox");
    fs::write(&file, mailbox).unwrap();
    // As docs/workspaces.md has it.
    let options = ["--keep-cr", "--keep-non-patch", "--patch-format=mboxrd"];
    let words = [&["am", "--quiet"][..], &options, &[file.to_str().unwrap()]];
    git(folder, &words.concat());
}

fn a_commit_does_not_spoil_the_diff_and_is_taken_with_git_am(world: &World, surface: &dyn Surface) {
    let files = [("file", "one\n"), ("gone", "bye\n")];
    let seed = repository(&world.folder().join("seed"), &files);
    let nested = repository(&seed.join("libs/nested"), &[("inner", "a\n")]);
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    in_guest(
        &workspace,
        "echo two > file; printf '\\000\\001' > bytes; git add file bytes; \
         git commit -qm 'change the file'; git rm -q gone; git commit -qm 'remove another'; \
         git commit -q --allow-empty -m 'nothing at all'; \
         echo '#!/bin/sh' > .git/hooks/post-checkout; git config alias.log '!false'; \
         cd libs/nested; echo b > inner; git commit -qam 'an inner one'",
    );
    let diff = workspace.done("diff", json!({ "binary": true }));
    let patch = diff["patch"].as_str().unwrap();
    assert!(!patch.contains(".git/"), "{patch}");
    assert_eq!(diff["patch_complete"], true);
    let why = |path: &str| {
        let entries = diff["entries"].as_array().unwrap();
        let found = entries.iter().find(|entry| entry["path"] == path);
        found.unwrap_or_else(|| panic!("no {path}"))["no_patch_because"].clone()
    };
    for path in [
        ".git/hooks/post-checkout",
        ".git/config",
        ".git/refs/heads/main",
        "libs/nested/.git/refs/heads/main",
    ] {
        assert_eq!(why(path), "repository");
    }
    let own = made(&diff, ".");
    assert_eq!((&own["count"], &own["branch"]), (&json!(3), &json!("main")));
    assert_eq!(own["base"], git(&seed, &["rev-parse", "HEAD"]).trim());
    assert_eq!(
        own["subjects"],
        json!(["nothing at all", "remove another", "change the file"])
    );
    assert_eq!(own["rewritten"], false);
    assert_eq!(made(&diff, "libs/nested")["count"], 1);

    // The patch, into a copy of the repository, which stays one.
    let copy = world.folder().join("copy");
    git(world.folder(), &["clone", "--quiet", "seed", "copy"]);
    repository(&copy.join("libs/nested"), &[("inner", "a\n")]);
    fs::write(world.folder().join("x.diff"), patch).unwrap();
    git(&copy, &["apply", "../x.diff"]);
    assert_eq!(fs::read_to_string(copy.join("file")).unwrap(), "two\n");
    assert_eq!(git(&copy, &["log", "--format=%s"]), "first\n");

    // The commits, where each belongs.
    let asked = json!({ "commits": "libs" });
    let told = workspace.refused("diff", asked, "unknown_file");
    assert!(told["hint"].as_str().unwrap().contains("libs/nested"));
    for (repository, folder, empty) in [
        (".", &seed, json!(1)),
        ("libs/nested", &nested, Value::Null),
    ] {
        let mailbox = workspace.done("diff", json!({ "commits": repository }));
        assert_eq!(mailbox["empty_commits"], empty, "{mailbox:#}");
        assert_eq!(mailbox["patch_complete"], true);
        am(folder, mailbox["patch"].as_str().unwrap());
    }
    assert_eq!(
        git(&seed, &["log", "--format=%s"]),
        "remove another\nchange the file\nfirst\n"
    );
    assert_eq!(fs::read(seed.join("bytes")).unwrap(), b"\0\x01");
    assert!(!seed.join("gone").exists());
    assert_eq!(fs::read_to_string(nested.join("inner")).unwrap(), "b\n");

    if world.backend != Backend::Process {
        workspace.exec("rm -f $(command -v git)");
        let diff = workspace.done("diff", json!({}));
        let why = made(&diff, ".")["unknown_because"].as_str().unwrap();
        assert!(why.contains("git is not installed"), "{why}");
        workspace.refused("diff", json!({ "commits": "." }), "tool_missing");
    }
}

/// A bare one, one whose work tree is elsewhere, and a new one.
fn a_repository_by_another_name_is_kept_out_of_the_patch(world: &World, surface: &dyn Surface) {
    let [seed, copy] = ["seed", "copy"].map(|name| {
        let seed = tree::plant(&world.folder().join(name), &[]);
        repository(&seed.join("work"), &[("file", "one\n")]);
        git(&seed, &["clone", "--quiet", "--bare", "work", "origin.git"]);
        seed
    });
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    in_guest(
        &workspace,
        "echo x > origin.git/notes; mkdir plain; echo x > plain/HEAD; \
         git init -q --separate-git-dir kept apart; git init -q --bare -b main new.git; cd work; \
         echo two > file; git commit -qam second; git push -q ../origin.git main; \
         git push -q ../new.git main; cd ../apart; echo a > a; git add a; git commit -qm third",
    );
    let diff = workspace.done("diff", json!({}));
    let entries = diff["entries"].as_array().unwrap();
    let patched = entries
        .iter()
        .filter(|entry| !entry["text_patch"].is_null());
    let patched: Vec<&Value> = patched.map(|entry| &entry["path"]).collect();
    assert_eq!(
        patched,
        ["apart/a", "origin.git/notes", "plain/HEAD", "work/file"]
    );
    for (repository, count) in [("work", 1), ("origin.git", 1), ("kept", 1), ("new.git", 2)] {
        assert_eq!(made(&diff, repository)["count"], count, "{repository}");
    }
    fs::write(
        world.folder().join("x.diff"),
        diff["patch"].as_str().unwrap(),
    )
    .unwrap();
    git(&copy, &["apply", "../x.diff"]);
    for repository in ["work", "origin.git"] {
        let folder = copy.join(repository);
        assert_eq!(git(&folder, &["log", "--format=%s", "HEAD"]), "first\n");
    }
    assert_eq!(fs::read_to_string(copy.join("work/file")).unwrap(), "two\n");
}

fn many_repositories_and_slow_ones_do_not_hold_the_diff_up(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    in_guest(
        &workspace,
        "for i in $(seq 10 27); do git init -q m/r$i; cd m/r$i; echo $i > file; git add file; \
         git commit -qm $i; cd ../..; done",
    );
    let diff = workspace.done("diff", json!({}));
    assert_eq!(diff["commits"].as_array().unwrap().len(), 16);
    assert_eq!(diff["repositories_left_out"], 2);
    let last = workspace.done("diff", json!({ "commits": "m/r27" }));
    assert!(
        last["patch"]
            .as_str()
            .unwrap()
            .contains("Subject: [PATCH] 27")
    );
    let told = workspace.refused("diff", json!({ "commits": "m" }), "unknown_file");
    assert!(told["hint"].as_str().unwrap().contains("m/r10"));

    // Git waits for its configuration.
    workspace.output("rm m/r10/.git/config; mkfifo m/r10/.git/config");
    let slow = workspace.done("diff", json!({}));
    assert_eq!(slow["patch"], diff["patch"]);
    let why = made(&slow, "m/r10")["unknown_because"].as_str().unwrap();
    assert!(why.contains("in time"), "{why}");
}

fn a_long_mailbox_comes_in_parts(world: &World) {
    let surface = Tools::new(world);
    let seed = repository(&world.folder().join("seed"), &[("file", "one\n")]);
    let workspace = Workspace::with(world, &surface, json!({ "seed_path": seed }));
    // One says what looks like the head of a mail, one changes nothing.
    in_guest(
        &workspace,
        "for i in 1 2 3 4; do seq $i 3000 > file-$i; git add .; git commit -qm \"commit $i\"; done; \
         git commit -qm empty --allow-empty; echo x > file; \
         git commit -qam 'last' -m \"From $(git rev-parse HEAD~3) Mon Sep 17 00:00:00 2001\"",
    );
    // A model sees files before a repository's own, and of its objects how many there are.
    let (mut skip, mut entries) = (json!(0), Vec::new());
    while !skip.is_null() {
        let part = workspace.done("diff", json!({ "skip": skip }));
        entries.extend(part["entries"].as_array().unwrap().clone());
        skip = part["next_skip"].clone();
    }
    let own = entries
        .iter()
        .position(|entry| entry["no_patch_because"] == "repository");
    let (files, own) = entries.split_at(own.unwrap());
    assert_eq!(files.len(), 5);
    assert!(
        own.iter()
            .all(|entry| entry["no_patch_because"] == "repository")
    );
    let objects = own.iter().filter(|entry| !entry["stands_for"].is_null());
    let objects: Vec<&Value> = objects.collect();
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["path"], ".git/objects");
    assert!(objects[0]["stands_for"].as_u64().unwrap() > 10);
    assert!(own.len() < 12, "{own:#?}");

    let mut mailbox = String::new();
    let (mut skip, mut parts) = (json!(0), 0);
    while !skip.is_null() {
        let part = workspace.done("diff", json!({ "commits": ".", "skip": skip }));
        assert!(part.to_string().len() < 64 * 1024);
        mailbox += part["patch"].as_str().unwrap();
        assert_ne!(part["next_skip"], skip);
        skip = part["next_skip"].clone();
        parts += 1;
    }
    assert!(parts > 1, "it fits into one answer");
    let mut whole = world.pyro(["workspace", "diff", "--commits", workspace.id()]);
    let whole = finish(&mut whole);
    assert!(whole.out() == mailbox, "the parts make another whole");
    assert!(
        whole.err().contains("commits made in . (main): 6"),
        "{}",
        whole.err()
    );
    am(&seed, &mailbox);
    let subjects = git(&seed, &["log", "--format=%s"]);
    assert_eq!(
        subjects,
        "last\ncommit 4\ncommit 3\ncommit 2\ncommit 1\nfirst\n"
    );
    // A commit that is too long by itself is told, and comes when so much is asked for.
    let person = CommandLine(world);
    let asked = |bytes: u64| {
        let id = workspace.id();
        let asked = json!({ "workspace_id": id, "commits": ".", "skip": 1, "max_bytes": bytes });
        person.call("workspace_diff", asked).unwrap()
    };
    let short = asked(100);
    assert_eq!(
        (&short["patch"], &short["next_skip"]),
        (&json!(""), &json!(1))
    );
    assert_eq!(asked(40_000)["next_skip"], 3);
}

/// Nothing before, a branch beside, a detached `HEAD`, an amended commit.
fn what_was_committed_is_counted_whatever_became_of_history(world: &World, surface: &dyn Surface) {
    let empty = Workspace::new(world, surface);
    in_guest(
        &empty,
        "git init -q -b trunk; echo a > a; git add a; git commit -qm root",
    );
    let diff = empty.done("diff", json!({}));
    let own = made(&diff, ".");
    assert_eq!((&own["count"], &own["base"]), (&json!(1), &Value::Null));
    // Lines that mails change, and one that they cannot have.
    in_guest(
        &empty,
        "printf 'a\\r\\n' > crlf; git add crlf; \
         git commit -qm '[ui] first' -m 'From the start' -m '>From there'",
    );
    let mailbox = empty.done("diff", json!({ "commits": "." }));
    let host = tree::plant(&world.folder().join("host"), &[]);
    git(&host, &["init", "--quiet"]);
    am(&host, mailbox["patch"].as_str().unwrap());
    assert_eq!(fs::read_to_string(host.join("a")).unwrap(), "a\n");
    assert_eq!(fs::read(host.join("crlf")).unwrap(), b"a\r\n");
    assert_eq!(
        git(&host, &["log", "-1", "--format=%B"]),
        "[ui] first\n\nFrom the start\n\n>From there\n\n"
    );
    in_guest(
        &empty,
        "echo b > a; git commit -qam odd -m 'diff --git a/x b/x'",
    );
    let diff = empty.done("diff", json!({}));
    let own = made(&diff, ".");
    assert_eq!((&own["count"], &own["unmailable"]), (&json!(3), &json!(1)));

    let seed = repository(&world.folder().join("seed"), &[("file", "one\n")]);
    git(&seed, &["branch", "beside"]);
    fs::write(seed.join("file"), "two\n").unwrap();
    git(&seed, &["commit", "--quiet", "--all", "--message=second"]);
    git(&seed, &["pack-refs", "--all"]);
    let [first, second] = ["HEAD~1", "HEAD"].map(|name| git(&seed, &["rev-parse", name]));
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    in_guest(
        &workspace,
        "git checkout -q beside; echo b > b; git add b; git commit -qm 'on beside'; \
         git checkout -q --detach main; echo c > c; git add c; git commit -qm 'on nothing'",
    );
    let diff = workspace.done("diff", json!({}));
    let own = made(&diff, ".");
    assert_eq!((&own["count"], &own["elsewhere"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&own["branch"], &own["rewritten"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(own["base"], second.trim());

    in_guest(
        &workspace,
        "git branch backup; git branch -D -q beside; git checkout -q main; git reset -q --hard HEAD~1; \
         echo three > file; git commit -qam 'instead of the second'; git checkout -q -b other; \
         echo d > d; git add d; git commit -qm d; git checkout -q main; \
         git merge -q --no-ff -m 'a merge' other",
    );
    let diff = workspace.done("diff", json!({}));
    let own = made(&diff, ".");
    assert_eq!((&own["count"], &own["merges"]), (&json!(2), &json!(1)));
    assert_eq!(own["rewritten"], true);
    assert_eq!(own["base"], first.trim());
    let mailbox = workspace.done("diff", json!({ "commits": "." }));
    git(&seed, &["checkout", "--quiet", "-b", "there", first.trim()]);
    am(&seed, mailbox["patch"].as_str().unwrap());
    assert_eq!(fs::read_to_string(seed.join("file")).unwrap(), "three\n");
}
